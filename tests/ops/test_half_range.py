import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError


def test_pixels_are_brought_to_plus_and_minus_one():
    pixels = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.485, 0.456, 0.406]])
    normalised = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = ops.to_half_range(jnp.asarray(normalised, jnp.float32)[None, None])
    np.testing.assert_allclose(ours[0, 0], 2 * pixels - 1, atol=1e-6)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(UserError, match="3 channels, and these have 1"):
        ops.to_half_range(jnp.ones((1, 4, 4, 1)))
