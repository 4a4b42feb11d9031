import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError

GENERATOR = models.generator("cyclegan_test").generator
IMAGES = jax.random.normal(jax.random.key(1), (2, 16, 24, 1))


def test_images_keep_their_size_and_see_no_other():
    made, variables = jax.jit(GENERATOR.init_with_output)(jax.random.key(0), IMAGES)
    assert made.shape == IMAGES.shape
    assert float(jnp.abs(made).max()) <= 1
    alone = jax.jit(GENERATOR.apply)(variables, IMAGES[1:])
    np.testing.assert_allclose(alone, made[1:], rtol=1e-5, atol=1e-6)
    assert set(variables) == {"params"}


def test_other_sides_are_one_clear_line():
    with pytest.raises(UserError, match="a multiple of 4 pixels from 8 on, got 16x6"):
        GENERATOR.init(jax.random.key(0), IMAGES[:, :, :6])
