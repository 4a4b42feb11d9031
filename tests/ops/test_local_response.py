import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops

X = 30 * np.random.default_rng(0).standard_normal((2, 3, 2, 7)).astype(np.float32)


@pytest.mark.parametrize(
    "fields", [{}, {"radius": 1, "offset": 1.0, "alpha": 0.5, "beta": 0.5}, {"radius": 9}]
)
def test_it_is_its_definition(fields):
    radius, offset, alpha, beta = {
        "radius": 2,
        "offset": 2,
        "alpha": 1e-4,
        "beta": 0.75,
        **fields,
    }.values()
    slow = np.zeros(X.shape)
    for channel in range(7):
        near = X[..., max(channel - radius, 0) : channel + radius + 1].astype(np.float64)
        slow[..., channel] = X[..., channel] / (offset + alpha * (near**2).sum(-1)) ** beta
    np.testing.assert_allclose(ops.local_response_norm(jnp.asarray(X), **fields), slow, rtol=1e-5)


def test_it_keeps_the_dtype_and_sums_in_float32():
    # 257 is no bfloat16: the sum of 257 ones would be 256.
    x = jnp.ones((1, 1, 1, 257), jnp.bfloat16)
    y = ops.local_response_norm(x, radius=256, offset=-256.0, alpha=1.0)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 0, 0, 128]) == 1
