import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError


def slow_conv(x, kernel, stride, sides, dilation, groups):
    """The definition, one output at a time."""
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    rows, columns, group_channels, features = kernel.shape
    new_height = (x.shape[1] - (rows - 1) * dilation[0] - 1) // stride[0] + 1
    new_width = (x.shape[2] - (columns - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], new_height, new_width, features))
    for i, j, f in np.ndindex(new_height, new_width, features):
        group = f // (features // groups)
        channels = slice(group * group_channels, (group + 1) * group_channels)
        for a, b in np.ndindex(rows, columns):
            pixel = x[:, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1], channels]
            out[:, i, j, f] += pixel @ kernel[a, b, :, f]
    return out


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), 1, 1, 1, 1),
        ((3, 3), 2, 1, 1, 1),
        ((1, 1), 2, 0, 1, 2),
        ((2, 3), (2, 1), (0, 2), (1, 2), 1),
        ((3, 2), 1, ((1, 0), (2, 1)), 2, 4),
    ],
)
def test_conv_is_its_definition(window, stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 6, 4)).astype(np.float32)
    kernel = rng.standard_normal((*window, 4 // groups, 8)).astype(np.float32)
    ours = ops.conv(
        jnp.asarray(x),
        jnp.asarray(kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    pair, sides = ops.window.pair, ops.window.sides
    slow = slow_conv(x, kernel, pair(stride), sides(padding), pair(dilation), groups)
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-5)


def test_conv_keeps_the_dtype():
    x, kernel = jnp.ones((1, 3, 3, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    assert ops.conv(x, kernel).dtype == jnp.bfloat16


def test_a_kernel_larger_than_the_image_is_an_error():
    with pytest.raises(UserError, match="too small"):
        ops.conv(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))


def slow_conv_transpose(x, kernel, stride, padding, output_padding):
    """The definition: each pixel lays its kernel down, and the margin is taken away."""
    taps, count = kernel.shape[0], x.shape[1]
    side = (count - 1) * stride + taps + output_padding
    out = np.zeros((len(x), side, side, kernel.shape[2]))
    for i, j in np.ndindex(count, count):
        rows, columns = (slice(at * stride, at * stride + taps) for at in (i, j))
        out[:, rows, columns] += np.einsum("bc,hwfc->bhwf", x[:, i, j], kernel)
    inside = slice(padding, side - padding)
    return out[:, inside, inside]


@pytest.mark.parametrize(
    ("count", "taps", "stride", "padding", "output_padding"),
    [(1, 4, 1, 0, 0), (5, 4, 2, 1, 0), (4, 3, 2, 1, 1), (3, 2, 2, 0, 0), (4, 3, 1, 1, 0)],
)
def test_conv_transpose_is_its_definition(count, taps, stride, padding, output_padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, count, count, 3)).astype(np.float32)
    kernel = rng.standard_normal((taps, taps, 5, 3)).astype(np.float32)
    options = {"stride": stride, "padding": padding, "output_padding": output_padding}
    ours = ops.conv_transpose(jnp.asarray(x), jnp.asarray(kernel), **options)
    slow = slow_conv_transpose(x, kernel, stride, padding, output_padding)
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-5)
    with ops.stock():
        stock = ops.conv_transpose(jnp.asarray(x), jnp.asarray(kernel), **options)
    np.testing.assert_allclose(stock, slow, rtol=1e-4, atol=1e-5)


def test_an_output_padding_of_a_stride_is_an_error():
    with pytest.raises(UserError, match="output_padding must be at least 0 and below the stride 2"):
        x, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
        ops.conv_transpose(x, kernel, stride=2, output_padding=2)
