import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError


@pytest.mark.parametrize("size", [(7, 9), (2, 3), (3, 20)])
def test_against_jax(size):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), jnp.float32)
    expected = jax.image.resize(x, (2, *size, 4), "bilinear", antialias=False)
    np.testing.assert_allclose(ops.resize_bilinear(x, size), expected, rtol=1e-5, atol=1e-6)


def test_by_hand():
    x = jnp.asarray([0.0, 4.0]).reshape(1, 1, 2, 1)
    assert ops.resize_bilinear(x, (1, 4)).reshape(-1).tolist() == [0, 1, 3, 4]


def test_half_precision_is_weighed_in_float32():
    x = jnp.full((1, 2, 2, 1), 3.0, jnp.bfloat16)
    y = ops.resize_bilinear(x, 3)
    assert y.dtype == jnp.bfloat16
    assert jnp.all(y == 3)


def test_an_empty_result_is_one_clear_line():
    with pytest.raises(UserError, match="cannot resize maps of 2x2 pixels to 0x3"):
        ops.resize_bilinear(jnp.zeros((1, 2, 2, 1)), (0, 3))
