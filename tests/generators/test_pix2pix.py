import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError

IMAGES = jax.random.normal(jax.random.key(1), (2, 64, 64, 1))


def test_images_keep_their_size_and_the_noise_of_training_is_dropout():
    # Of six levels the fifth has dropout.
    generator = models.generator("pix2pix_test", depth=6, width=1).generator
    made, variables = jax.jit(generator.init_with_output)(jax.random.key(0), IMAGES)
    assert made.shape == (2, 64, 64, 1)
    assert float(jnp.abs(made).max()) <= 1

    @jax.jit
    def trained(seed):
        options = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(seed)}}
        return generator.apply(variables, IMAGES, train=True, **options)[0]

    np.testing.assert_array_equal(trained(1), trained(1))
    assert float(jnp.abs(trained(1) - trained(2)).max()) > 1e-4


def test_sides_that_cannot_be_halved_are_one_clear_line():
    generator = models.generator("pix2pix_test").generator
    with pytest.raises(UserError, match="of 5 levels takes images of a multiple of 32 pixels"):
        generator.init(jax.random.key(0), IMAGES[:, :48])
