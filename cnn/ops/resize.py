"""Maps at another size, as dense tasks bring their logits to the size of the image."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn.errors import UserError
from cnn.ops.window import Pair, pair


def resize_bilinear(
    x: Float[Array, "batch height width channels"], size: Pair
) -> Float[Array, "batch new_height new_width channels"]:
    """Bilinear interpolation between the middles of pixels, without antialiasing.

    torch's `interpolate(mode="bilinear", align_corners=False)`: beyond the outermost middles a
    pixel has the nearest one's value. Computed in float32 or wider.

    Args:
        x: The maps.
        size: Height and width of the result, in pixels.

    Raises:
        UserError: If the map or the result is empty.
    """
    new = pair(size)
    if min(*x.shape[1:3], *new) < 1:
        raise UserError(
            f"cannot resize maps of {x.shape[1]}x{x.shape[2]} pixels to {new[0]}x{new[1]}; both"
            " need at least one pixel"
        )
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # Static sizes: an axis that keeps its length costs nothing.
    for axis, products in ((1, "nh,bhwc->bnwc"), (2, "nw,bhwc->bhnc")):
        length, target = x.shape[axis], new[axis - 1]
        if length != target:
            weights = jnp.asarray(_weights(length, target), y.dtype)
            y = jnp.einsum(products, weights, y, precision="highest")
    return y.astype(x.dtype)


def _weights(length: int, target: int) -> Float[np.ndarray, "target length"]:
    """What each pixel contributes to each of the result."""
    places = np.clip((np.arange(target) + 0.5) * (length / target) - 0.5, 0, length - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(length)), 0)
