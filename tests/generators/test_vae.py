import jax
import jax.numpy as jnp
import numpy as np

from cnn import models

NETWORKS = models.generator("vae_test")


def test_images_are_means_of_the_pixels_that_logits_say():
    latents = jax.random.normal(jax.random.key(1), (2, 3))
    generator = NETWORKS.generator
    images, variables = jax.jit(generator.init_with_output)(jax.random.key(0), latents)
    logits = jax.jit(lambda x: generator.apply(variables, x, method="logits"))(latents)
    np.testing.assert_allclose((images + 1) / 2, jax.nn.sigmoid(logits), rtol=1e-5, atol=1e-6)


def test_maps_start_neither_vanishing_nor_growing():
    generator = models.generator("vae_small").generator
    latents = jax.random.normal(jax.random.key(1), (4, 16))
    variables = jax.jit(generator.init)(jax.random.key(0), latents)
    logits = jax.jit(lambda x: generator.apply(variables, x, method="logits"))(latents)
    assert 0.3 < float(jnp.std(logits)) < 3
