import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError

IMAGES = jax.random.normal(jax.random.key(1), (2, 64, 32, 1))
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(2)}


def test_images_keep_their_size_and_noise_is_dropout_in_training_only():
    # Six levels: the fifth has dropout.
    generator = models.generator("pix2pix_test", depth=5).generator
    made, variables = generator.init_with_output(KEYS, IMAGES)
    assert made.shape == (2, 64, 32, 1)
    assert float(jnp.abs(made).max()) <= 1
    again = generator.apply(variables, IMAGES)
    np.testing.assert_array_equal(made, again)
    without, with_dropout = (models.generator("pix2pix_test", depth=d).generator for d in (5, 6))
    for model, expected in ((without, False), (with_dropout, True)):
        images = jnp.concatenate([IMAGES, IMAGES], axis=2)
        variables = model.init(KEYS, images)
        drawn = [
            model.apply(
                variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )[0]
            for key in jax.random.split(jax.random.key(3))
        ]
        assert bool(jnp.any(drawn[0] != drawn[1])) == expected


def test_sides_that_cannot_be_halved_are_one_clear_line():
    generator = models.generator("pix2pix_test").generator
    with pytest.raises(UserError, match="of 5 levels takes images of a multiple of 32 pixels"):
        generator.init(KEYS, IMAGES[:, :48])
