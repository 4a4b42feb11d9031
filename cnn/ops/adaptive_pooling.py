"""Averages over windows that are chosen so that the output has a given size."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn.errors import UserError
from cnn.ops.window import Pair, pair


def adaptive_avg_pool(
    x: Float[Array, "batch height width channels"], size: Pair
) -> Float[Array, "batch new_height new_width channels"]:
    """The means of `size` bins that cover the image; torch's `AdaptiveAvgPool2d`.

    Bin i of n reaches from floor(i * length / n) to ceil((i + 1) * length / n): neighbours overlap
    where n does not divide the length, and repeat pixels where it is larger. Summed in float32 or
    wider.

    Args:
        x: The images.
        size: Height and width of the output, in pixels; smaller or larger than those of `x`.

    Raises:
        UserError: If the image or the output is empty.
    """
    new = pair(size)
    if min(*x.shape[1:3], *new) < 1:
        raise UserError(
            f"cannot pool images of {x.shape[1]}x{x.shape[2]} pixels to {new[0]}x{new[1]}; both"
            " need at least one pixel"
        )
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # Static sizes: an axis that keeps its length costs nothing.
    for axis, products in ((1, "nh,bhwc->bnwc"), (2, "nw,bhwc->bhnc")):
        length, bins = x.shape[axis], new[axis - 1]
        if length != bins:
            weights = jnp.asarray(_weights(length, bins), y.dtype)
            y = jnp.einsum(products, weights, y, precision="highest")
    return y.astype(x.dtype)


def _weights(length: int, bins: int) -> Float[np.ndarray, "bins length"]:
    """What each pixel contributes to the mean of each bin."""
    index, pixel = np.arange(bins)[:, None], np.arange(length)
    # The ceiling by negation, in whole numbers.
    first, last = index * length // bins, -(-(index + 1) * length // bins)
    inside = (pixel >= first) & (pixel < last)
    return inside / inside.sum(axis=1, keepdims=True)
