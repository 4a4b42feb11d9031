"""Penalties against closed forms and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn.tasks import penalties

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(3, 4, 5, 2)), jnp.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=(4, 5, 2)), jnp.float32)


def linear(images):
    return jnp.einsum("bhwc,hwc->b", images, WEIGHTS)


def test_the_gradient_of_a_linear_critic_is_its_weights():
    norm = np.sqrt(np.sum(np.square(np.asarray(WEIGHTS, np.float64))))
    found = penalties.gradient_penalty(linear, IMAGES)
    np.testing.assert_allclose(found, np.full(3, (norm - 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(
        penalties.input_gradients(linear, IMAGES), np.stack([WEIGHTS] * 3), rtol=1e-6
    )


def test_the_gradient_of_a_square_is_the_image():
    found = penalties.gradient_penalty(
        lambda images: jnp.sum(jnp.square(images), axis=(1, 2, 3)) / 2, IMAGES
    )
    norms = np.sqrt(np.sum(np.square(np.asarray(IMAGES, np.float64)), axis=(1, 2, 3)))
    np.testing.assert_allclose(found, (norms - 1) ** 2, rtol=1e-5)


def test_a_critic_that_ignores_its_image_has_a_penalty_of_one_and_a_finite_derivative():
    def penalty(scale):
        return penalties.gradient_penalty(lambda images: scale * linear(images), IMAGES).sum()

    value, slope = jax.value_and_grad(penalty)(0.0)
    assert float(value) == 3.0
    assert np.isfinite(slope)


def test_points_between_are_on_the_line():
    shares = jnp.asarray([0.0, 0.25, 1.0])
    found = penalties.between(IMAGES, IMAGES + 4, shares)
    expected = np.asarray(IMAGES) + np.asarray([4.0, 3.0, 0.0]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_squared_gradient_of_a_linear_critic_is_that_of_its_weights():
    expected = np.sum(np.square(np.asarray(WEIGHTS, np.float64)))
    found = penalties.squared_gradients(linear, IMAGES)
    np.testing.assert_allclose(found, np.full(3, expected), rtol=1e-5)


def test_the_path_length_of_a_linear_generator_is_that_of_its_matrix():
    matrix = RNG.normal(size=(2, 6, 4 * 5 * 2))  # layers, styles, values of an image
    styles = jnp.asarray(RNG.normal(size=(3, 2, 6)), jnp.float32)
    noise = jnp.asarray(RNG.normal(size=(3, 4, 5, 2)), jnp.float32)

    def images_of(styles):
        flat = jnp.einsum("bls,lsv->bv", styles, jnp.asarray(matrix, jnp.float32))
        return flat.reshape(-1, 4, 5, 2)

    found = penalties.path_lengths(images_of, styles, noise)
    gradients = np.einsum("lsv,bv->bls", matrix, np.asarray(noise).reshape(3, -1)) / np.sqrt(20)
    expected = np.sqrt(np.square(gradients).sum(axis=-1).mean(axis=-1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
