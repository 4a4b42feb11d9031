"""Maximum and average over a sliding window, of each channel by itself."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.window import Padding, Pair, check_fits, pair, sides


def max_pool(
    x: Float[Array, "batch height width channels"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch new_height new_width channels"]:
    """The largest value of each window; padding never wins.

    Args:
        x: The images.
        window: Height and width of the window, in taps.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Pixels of minus infinity added outside.
        dilation: Pixels between neighbouring taps of the window.
        ceil_mode: Whether a window counts that begins inside and ends outside, at the bottom or
            right; as in Caffe, whose networks expect it, and torch.

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    height, width = pair(stride if stride is not None else window)
    if ceil_mode:
        padding = _ceil_sides(x.shape[1:3], window, (height, width), padding, dilation)
    check_fits(x.shape[1:3], pair(window), padding=padding, dilation=dilation)
    return lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),
        lax.max,
        (1, *pair(window), 1),
        (1, height, width, 1),
        ((0, 0), *sides(padding), (0, 0)),
        window_dilation=(1, *pair(dilation), 1),
    )


def avg_pool(
    x: Float[Array, "batch height width channels"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
) -> Float[Array, "batch new_height new_width channels"]:
    """The mean of each window, summed in float32 or wider.

    Args:
        x: The images.
        window: Height and width of the window, in pixels.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Zeros added outside.
        count_padding: Whether the zeros count in the mean (torch's `count_include_pad`).

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    check_fits(x.shape[1:3], pair(window), padding=padding, dilation=1)
    height, width = pair(stride if stride is not None else window)

    def sums(values: Float[Array, "n h w c"]) -> Float[Array, "n new_h new_w c"]:
        return lax.reduce_window(
            values,
            np.array(0, values.dtype),
            lax.add,
            (1, *pair(window), 1),
            (1, height, width, 1),
            ((0, 0), *sides(padding), (0, 0)),
        )

    total = sums(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    if count_padding:
        rows, columns = pair(window)
        return (total / (rows * columns)).astype(x.dtype)
    count = sums(jnp.ones((1, *x.shape[1:3], 1), total.dtype))
    return (total / count).astype(x.dtype)


def _ceil_sides(
    image: tuple[int, ...], window: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The padding with what the last window of a row or column needs to end inside."""

    def grown(
        size: int, taps: int, step: int, around: tuple[int, int], spread: int
    ) -> tuple[int, int]:
        before, after = around
        rest = before + size + after - (taps - 1) * spread - 1
        windows = -(-rest // step)
        # One that begins in the padding after the image sees nothing of it.
        windows -= windows * step >= before + size
        return before, after + max(windows * step - rest, 0)

    ranges = zip(image, pair(window), pair(stride), sides(padding), pair(dilation), strict=True)
    vertical, horizontal = (grown(*axis) for axis in ranges)
    return vertical, horizontal
