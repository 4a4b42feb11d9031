"""Pooling that draws one value of each window, and what it gives in the mean."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.window import Padding, Pair, check_fits, pair, sides

Image = Float[Array, "batch height width channels"]
Pooled = Float[Array, "batch new_height new_width channels"]
Taps = Float[Array, "taps batch new_height new_width channels"]


def stochastic_pool(
    x: Image, window: Pair, *, key: jax.Array, stride: Pair | None = None, padding: Padding = 0
) -> Pooled:
    """One value of each window, drawn with a probability proportional to itself.

    Zeiler & Fergus 2013, "Stochastic pooling for regularization of deep convolutional neural
    networks", equations 4 and 5: for training. The gradient goes to the value that was drawn.

    Args:
        x: The images, of values that are not negative, as after ReLU. A negative one counts as 0:
            it is never drawn. A window without a positive value gives 0.
        window: Height and width of the window, in pixels.
        key: Each window of each channel draws by itself.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Zeros added outside, which are never drawn.

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    taps = _taps(x, window, stride, padding)
    # Wide, so that small probabilities are not rounded to nothing.
    wide = taps.astype(jnp.promote_types(x.dtype, jnp.float32))
    drawn = jax.random.categorical(key, jnp.log(lax.stop_gradient(wide)), axis=0)
    index = jnp.arange(taps.shape[0]).reshape(-1, 1, 1, 1, 1)
    return jnp.sum(jnp.where(index == drawn[None], taps, jnp.zeros_like(taps)), axis=0)


def probability_weighted_pool(
    x: Image, window: Pair, *, stride: Pair | None = None, padding: Padding = 0
) -> Pooled:
    """The mean of what `stochastic_pool` draws: its form for evaluation.

    Zeiler & Fergus 2013, equation 6: the sum of squares by the sum, of each window.

    Args:
        x: As for `stochastic_pool`: a negative value counts as 0, and a window without a positive
            value gives 0.
        window: Height and width of the window, in pixels.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Zeros added outside.

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    taps = _taps(x, window, stride, padding)
    taps = taps.astype(jnp.promote_types(x.dtype, jnp.float32))
    total = jnp.sum(taps, axis=0)
    # A divisor that is never 0, since the gradient of what is not taken would be NaN.
    probabilities = taps / jnp.where(total > 0, total, jnp.ones_like(total))[None]
    return jnp.sum(probabilities * taps, axis=0).astype(x.dtype)


def _taps(x: Image, window: Pair, stride: Pair | None, padding: Padding) -> Taps:
    """What each place of the window sees, without negative values."""
    check_fits(x.shape[1:3], pair(window), padding=padding, dilation=1)
    (rows, columns), (down, right) = pair(window), pair(stride if stride is not None else window)
    x = jnp.pad(jnp.maximum(x, jnp.zeros_like(x)), ((0, 0), *sides(padding), (0, 0)))
    # How far the first place goes: the others begin later and go as far beyond.
    bottom, edge = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    return jnp.stack(
        [
            x[:, row : row + bottom : down, column : column + edge : right]
            for row in range(rows)
            for column in range(columns)
        ]
    )
