import jax
import jax.numpy as jnp
import numpy as np

from cnn import models

LATENTS = jax.random.normal(jax.random.key(1), (8, 6))


def test_images_are_in_range_and_an_example_sees_no_other_outside_of_training():
    networks = models.generator("dcgan_test")
    images, variables = networks.generator.init_with_output(jax.random.key(0), LATENTS)
    assert float(jnp.abs(images).max()) <= 1
    alone = networks.generator.apply(variables, LATENTS[:3])
    np.testing.assert_allclose(alone, images[:3], rtol=1e-5, atol=1e-6)
    scores, judged = networks.discriminator.init_with_output(jax.random.key(0), images)
    alone = networks.discriminator.apply(judged, images[:3])
    np.testing.assert_allclose(alone, scores[:3], rtol=1e-5, atol=1e-6)


def test_a_critic_without_norm_has_no_statistics():
    critic = models.generator("dcgan_test", discriminator_norm="none").discriminator
    variables = critic.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert set(variables) == {"params"}


def test_the_initialisation_is_the_papers():
    generator = models.generator("dcgan", latent_size=50).generator
    params = generator.init(jax.random.key(0), LATENTS[:1, :5].repeat(10, axis=1))["params"]
    kernel, scale = np.asarray(params["up1"]["kernel"]), np.asarray(params["norm1"]["scale"])
    assert abs(kernel.std() - 0.02) < 1e-4
    assert abs(scale.mean() - 1) < 0.005
    assert abs(scale.std() - 0.02) < 0.005
