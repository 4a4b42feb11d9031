import jax
import jax.numpy as jnp
import numpy as np

from cnn import models

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
