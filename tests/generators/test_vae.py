import jax
import jax.numpy as jnp
import numpy as np

from cnn import models

NETWORKS = models.generator("vae_test")


def test_images_are_means_of_the_pixels_that_logits_say():
    latents = jax.random.normal(jax.random.key(1), (2, 3))
    images, variables = NETWORKS.generator.init_with_output(jax.random.key(0), latents)
    logits = NETWORKS.generator.apply(variables, latents, method="logits")
    np.testing.assert_allclose((images + 1) / 2, jax.nn.sigmoid(logits), rtol=1e-5, atol=1e-6)


def test_maps_start_neither_vanishing_nor_growing():
    networks = models.generator("vae", latent_size=32)
    latents = jax.random.normal(jax.random.key(1), (4, 32))
    variables = networks.generator.init(jax.random.key(0), latents)
    logits = networks.generator.apply(variables, latents, method="logits")
    assert 0.3 < float(jnp.std(logits)) < 3
