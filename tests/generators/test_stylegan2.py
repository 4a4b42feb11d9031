import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from cnn import models, ops
from cnn.errors import UserError
from cnn.generators import stylegan2

RNG = np.random.default_rng(0)
NETWORKS = models.generator("stylegan2_test", image_size=8, width_max=4)
LATENTS = jax.random.normal(jax.random.key(1), (4, 8))


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_a_kernel_for_each_image(demodulate):
    x, kernel, styles = draw(3, 5, 6, 4), draw(3, 3, 4, 7), draw(3, 4)
    found = stylegan2.modulated_conv(x, kernel, styles, demodulate=demodulate)
    for image, style, result in zip(x, styles, found, strict=True):
        own = np.asarray(kernel, np.float64) * np.asarray(style).reshape(1, 1, 4, 1)
        if demodulate:
            own /= np.sqrt(np.square(own).sum(axis=(0, 1, 2), keepdims=True) + 1e-8)
        expected = ops.conv(image[None], jnp.asarray(own, jnp.float32), padding=1)[0]
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def slow_filter(plane, gain):
    taps = np.asarray([1, 3, 3, 1]) / 8
    return scipy.signal.convolve2d(plane, gain * np.outer(taps, taps))


def test_doubling_and_halving_are_filters():
    x = np.asarray(draw(1, 4, 6, 2))
    spread = np.zeros((8, 12))
    spread[::2, ::2] = x[0, :, :, 1]
    # The whole convolution is 3 longer, of which one comes before and two after the image.
    expected = slow_filter(spread, 4.0)[1:9, 1:13]
    found = stylegan2.doubled(jnp.asarray(x))[0, :, :, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert stylegan2.halved(jnp.asarray(x)).shape == (1, 2, 3, 2)
    np.testing.assert_allclose(
        stylegan2.halved(jnp.asarray(x))[0, :, :, 1],
        slow_filter(x[0, :, :, 1], 1.0)[2:6:2, 2:8:2],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.fixture(scope="module")
def generator():
    return jax.jit(NETWORKS.generator.init_with_output)(jax.random.key(0), LATENTS)


def test_an_image_is_of_its_styles_and_each_layer_has_one(generator):
    images, variables = generator
    model = NETWORKS.generator
    styles = jax.jit(lambda x: model.apply(variables, x, method="styles"))(LATENTS)
    assert styles.shape == (4, model.num_layers, 8) == (4, 4, 8)
    images_of = jax.jit(lambda styles: model.apply(variables, styles, method="images"))
    np.testing.assert_allclose(images_of(styles), images, rtol=1e-5, atol=1e-6)
    for layer in range(model.num_layers):
        other = styles.at[0, layer].add(1.0)
        moved = images_of(other)
        assert float(jnp.abs(moved[0] - images[0]).max()) > 1e-4
        np.testing.assert_allclose(moved[1:], images[1:], rtol=1e-4, atol=1e-5)


def test_noise_is_drawn_in_training_and_has_a_strength(generator):
    _, variables = generator
    model = NETWORKS.generator

    @jax.jit
    def images(params, seed):
        rngs = {"noise": jax.random.key(seed)}
        return model.apply({"params": params}, LATENTS, rngs=rngs)

    params = variables["params"]
    np.testing.assert_array_equal(images(params, 0), images(params, 1))
    louder = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.5 if "noise_strength" in str(path[-1]) else x, params
    )
    assert float(jnp.abs(images(louder, 0) - images(louder, 1)).max()) > 0.01


def test_weights_of_the_mapping_learn_a_hundred_times_slower(generator):
    _, variables = generator
    kernel = np.asarray(variables["params"]["mapping"]["layer0"]["kernel"])
    assert 80 < kernel.std() < 120
    styles = jax.jit(lambda x: NETWORKS.generator.apply(variables, x, method="styles"))(LATENTS)
    assert 0.2 < float(jnp.std(styles)) < 5


def test_the_critic_sees_how_images_of_a_group_differ():
    critic = NETWORKS.discriminator
    images = draw(4, 8, 8, 1)
    scores, variables = jax.jit(critic.init_with_output)(jax.random.key(0), images)
    apply = jax.jit(critic.apply)
    alike = apply(variables, jnp.concatenate([images[:1]] * 4))
    assert scores.shape == (4,)
    np.testing.assert_allclose(alike, np.full(4, alike[0]), rtol=1e-4)
    assert abs(float(alike[0] - scores[0])) > 1e-4
    # Seven images have no groups but of one and of seven.
    assert jax.eval_shape(critic.apply, variables, draw(7, 8, 8, 1)).shape == (7,)


@pytest.mark.parametrize("size", [4, 28, 0])
def test_other_sizes_are_one_clear_line(size):
    with pytest.raises(UserError, match=f"a power of 2 of pixels from 8 on, got {size}"):
        stylegan2.sizes(size)
    assert stylegan2.sizes(32) == [4, 8, 16, 32]
