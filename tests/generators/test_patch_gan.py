import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.errors import UserError
from cnn.generators import patch_gan


def seen_by(discriminator, size=96):
    """(rows of scores, pixels of a row that one score in the middle depends on)."""
    images = jax.random.normal(jax.random.key(1), (1, size, size, 1))
    variables = jax.jit(discriminator.init)(jax.random.key(0), images)

    def middle(images):
        scores = discriminator.apply(variables, images)
        return scores[0, scores.shape[1] // 2, scores.shape[2] // 2]

    rows = jax.eval_shape(discriminator.apply, variables, images).shape[1]
    gradient = np.asarray(jax.jit(jax.grad(middle))(images))[0, :, :, 0]
    return rows, int((np.abs(gradient).sum(axis=1) > 0).sum())


def test_a_score_is_of_a_patch_of_70_pixels():
    # Batch norm outside of training looks at no other pixel.
    assert seen_by(patch_gan.Discriminator(4)) == (10, 70)
    assert seen_by(patch_gan.Discriminator(4, num_halvings=1)) == (46, 16)


def test_instance_norm_is_by_image_and_channel():
    x = np.random.default_rng(0).normal(3, 5, size=(2, 6, 5, 3)).astype(np.float32)
    found = np.asarray(patch_gan.instance_norm(jnp.asarray(x)))
    mean, var = x.mean(axis=(1, 2), keepdims=True), x.var(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)


def test_an_unknown_norm_is_one_clear_line():
    with pytest.raises(UserError, match="unknown norm 'instanse'; did you mean 'instance'"):
        patch_gan.has_bias("instanse")
