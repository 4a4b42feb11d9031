import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError

X = np.random.default_rng(0).standard_normal((2, 7, 6, 3)).astype(np.float32)


def slow_pool(x, size):
    """torch's rule, one bin at a time."""

    def bins(length, count):
        return [
            slice(int(np.floor(i * length / count)), int(np.ceil((i + 1) * length / count)))
            for i in range(count)
        ]

    rows, columns = bins(x.shape[1], size[0]), bins(x.shape[2], size[1])
    means = [[x[:, row, column].mean((1, 2)) for column in columns] for row in rows]
    return np.array(means).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("size", [1, (7, 3), (3, 4), (2, 5), (10, 6), (16, 13)])
def test_it_is_its_definition(size):
    ours = jax.jit(ops.adaptive_avg_pool, static_argnums=1)(jnp.asarray(X), size)
    slow = slow_pool(X.astype(np.float64), ops.window.pair(size))
    np.testing.assert_allclose(ours, slow, rtol=1e-5, atol=1e-6)


def test_bins_of_torch():
    """By hand: of 5 pixels, bins [0, 2), [1, 4), [3, 5)."""
    x = jnp.arange(1.0, 6.0).reshape(1, 5, 1, 1)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, (3, 1)).ravel(), [1.5, 3.0, 4.5])


def test_an_image_of_that_size_is_kept():
    np.testing.assert_array_equal(ops.adaptive_avg_pool(jnp.asarray(X), (7, 6)), X)


def test_it_keeps_the_dtype_and_averages_in_float32():
    # 256 ones and 256 halves: bfloat16 sums stop growing at 256.
    x = jnp.concatenate([jnp.ones((1, 256, 1, 1)), jnp.full((1, 256, 1, 1), 0.5)], axis=1)
    mean = ops.adaptive_avg_pool(x.astype(jnp.bfloat16), 1)
    assert mean.dtype == jnp.bfloat16
    assert float(mean[0, 0, 0, 0]) == 0.75


@pytest.mark.parametrize(("shape", "size"), [((1, 0, 4, 1), 2), ((1, 4, 4, 1), (2, 0))])
def test_nothing_is_not_pooled(shape, size):
    with pytest.raises(UserError, match=f"images of {shape[1]}x4 pixels to 2x"):
        ops.adaptive_avg_pool(jnp.ones(shape), size)
