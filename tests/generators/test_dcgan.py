import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError

LATENTS = jax.random.normal(jax.random.key(1), (8, 6))


def test_images_are_in_range_and_an_example_sees_no_other_outside_of_training():
    networks = models.generator("dcgan_test")
    generator, critic = networks.generator, networks.discriminator
    images, variables = jax.jit(generator.init_with_output)(jax.random.key(0), LATENTS)
    assert float(jnp.abs(images).max()) <= 1
    alone = jax.jit(generator.apply)(variables, LATENTS[:3])
    np.testing.assert_allclose(alone, images[:3], rtol=1e-5, atol=1e-6)
    scores, judged = jax.jit(critic.init_with_output)(jax.random.key(0), images)
    alone = jax.jit(critic.apply)(judged, images[:3])
    np.testing.assert_allclose(alone, scores[:3], rtol=1e-5, atol=1e-6)


def test_a_critic_without_norm_has_no_statistics():
    critic = models.generator("dcgan_test", discriminator_norm="none").discriminator
    variables = jax.eval_shape(critic.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert set(variables) == {"params"}


def test_the_initialisation_is_the_papers():
    generator = models.generator("dcgan_test", widths=(64, 512)).generator
    params = jax.jit(generator.init)(jax.random.key(0), LATENTS[:1])["params"]
    kernel, scale = np.asarray(params["up1"]["kernel"]), np.asarray(params["norm0"]["scale"])
    assert abs(kernel.std() - 0.02) < 1e-4
    assert abs(scale.mean() - 1) < 0.005
    assert abs(scale.std() - 0.02) < 0.005


def test_of_the_first_numbers_of_a_latent_only_the_largest_counts_and_is_the_class():
    generator = models.generator("dcgan_test", num_classes=4).generator
    latent = jnp.asarray([0.3, -1.0, 2.0, 0.1, 0.7, -0.7])
    others = [[0.0, 0.0, 0.5, 0.0], [2.0, -1.0, 0.3, 0.1], [0.3, -1.0, 2.0, 0.1]]
    latents = jnp.stack([latent, *(latent.at[:4].set(jnp.asarray(x)) for x in others)])
    latents = latents.at[3, 5].set(0.7)
    images, _ = jax.jit(generator.init_with_output)(jax.random.key(0), latents)
    np.testing.assert_array_equal(generator.labels(latents), [2, 2, 0, 2])
    np.testing.assert_array_equal(images[1], images[0])
    for changed in images[2:]:
        assert float(jnp.abs(changed - images[0]).max()) > 1e-4
    with pytest.raises(UserError, match="latents of 12 numbers have no 13 classes in them"):
        models.generator("dcgan_test", num_classes=13).generator.init(jax.random.key(0), LATENTS)


def test_the_score_of_an_image_is_that_of_its_class():
    critic = models.generator("dcgan_test", num_classes=3).discriminator
    image = jax.random.normal(jax.random.key(2), (1, 28, 28, 1))
    images, labels = jnp.repeat(image, 3, axis=0), jnp.asarray([2, 0, 1])
    variables = jax.jit(critic.init)(jax.random.key(0), images, labels)
    scores = jax.jit(critic.apply)(variables, images, labels)
    assert len(set(scores.tolist())) == 3
    again = jax.jit(critic.apply)(variables, images, labels[::-1])
    np.testing.assert_allclose(again[jnp.asarray([2, 1, 0])], scores, rtol=1e-5, atol=1e-6)
