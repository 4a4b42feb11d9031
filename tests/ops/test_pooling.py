import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError

X = np.random.default_rng(0).standard_normal((2, 7, 6, 3)).astype(np.float32)


def slow_pool(x, reduce, window, stride, sides, fill, dilation=1):
    x = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)
    reach = [(size - 1) * dilation + 1 for size in window]
    shape = [(x.shape[1 + axis] - reach[axis]) // stride[axis] + 1 for axis in (0, 1)]
    out = np.zeros((x.shape[0], *shape, x.shape[3]))
    for i, j in np.ndindex(*shape):
        top, left = i * stride[0], j * stride[1]
        part = x[:, top : top + reach[0] : dilation, left : left + reach[1] : dilation]
        out[:, i, j] = reduce(part, axis=(1, 2))
    return out


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"),
    [
        (2, None, 0, 1),
        (3, 2, 1, 1),
        ((2, 3), (1, 2), ((0, 1), (1, 0)), 1),
        (2, 1, 1, 2),
    ],
)
def test_max_pool_is_its_definition(window, stride, padding, dilation):
    pair, sides = ops.window.pair, ops.window.sides
    # All negative, so that a padding of zero would win.
    x = X - 10
    ours = ops.max_pool(jnp.asarray(x), window, stride=stride, padding=padding, dilation=dilation)
    steps = pair(stride if stride is not None else window)
    slow = slow_pool(x, np.max, pair(window), steps, sides(padding), -np.inf, dilation)
    np.testing.assert_array_equal(ours, slow.astype(np.float32))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "expected"),
    [
        # Sizes by torch's documentation: ceil((size + 2 padding - window) / stride) + 1, and one
        # fewer where the last window would begin outside the image.
        (8, 3, 2, 0, 4),
        (7, 3, 2, 0, 3),
        (2, 3, 2, 0, 1),
        (7, 2, 2, 0, 4),
        (7, 3, 2, 1, 4),
        (8, 3, 2, 1, 5),
        (6, 2, 3, 1, 3),
        (7, 2, 4, 1, 2),
        (7, 3, 1, 1, 7),
    ],
)
def test_ceil_mode_counts_windows_that_end_outside(size, window, stride, padding, expected):
    x = np.random.default_rng(0).standard_normal((1, size, size, 2)).astype(np.float32) - 10
    ours = ops.max_pool(jnp.asarray(x), window, stride=stride, padding=padding, ceil_mode=True)
    far = ((padding, padding + window + stride),) * 2
    slow = slow_pool(x, np.max, (window, window), (stride, stride), far, -np.inf)
    assert ours.shape == (1, expected, expected, 2)
    np.testing.assert_array_equal(ours, slow[:, :expected, :expected].astype(np.float32))
    assert np.isfinite(ours).all()


def test_ceil_mode_needs_a_window_that_begins_inside():
    with pytest.raises(UserError, match="images too small"):
        ops.max_pool(jnp.ones((1, 1, 4, 1)), 3, stride=2, ceil_mode=True)


@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), ((0, 1), (1, 0)))]
)
@pytest.mark.parametrize("count_padding", [True, False])
def test_avg_pool_is_its_definition(window, stride, padding, count_padding):
    pair, sides = ops.window.pair, ops.window.sides
    ours = ops.avg_pool(
        jnp.asarray(X), window, stride=stride, padding=padding, count_padding=count_padding
    )
    fill, mean = (0, np.mean) if count_padding else (np.nan, np.nanmean)
    steps = pair(stride if stride is not None else window)
    slow = slow_pool(X, mean, pair(window), steps, sides(padding), fill)
    np.testing.assert_allclose(ours, slow, rtol=1e-5, atol=1e-6)


def test_pools_keep_the_dtype_and_average_in_float32():
    # 256 ones and 256 halves: bfloat16 sums stop growing at 256.
    x = jnp.concatenate([jnp.ones((1, 16, 16, 1)), jnp.full((1, 16, 16, 1), 0.5)], axis=2)
    mean = ops.avg_pool(x.astype(jnp.bfloat16), (16, 32))
    assert mean.dtype == jnp.bfloat16
    assert float(mean[0, 0, 0, 0]) == 0.75
    assert ops.max_pool(x.astype(jnp.bfloat16), 2).dtype == jnp.bfloat16


@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
def test_a_window_larger_than_the_image_is_an_error(pool):
    with pytest.raises(UserError, match="too small"):
        pool(jnp.ones((1, 2, 2, 1)), 3)
