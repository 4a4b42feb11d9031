"""Local response normalisation."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def local_response_norm(
    x: Float[Array, "batch height width channels"],
    *,
    radius: int = 2,
    offset: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> Float[Array, "batch height width channels"]:
    """Divides by (offset + alpha * s) ** beta, s the sum of squares over neighbouring channels.

    Krizhevsky et al. 2012, section 3.3, and its numbers. torch and Caffe divide alpha by the number
    of channels that are summed, the paper does not.

    Args:
        x: The images.
        radius: Neighbours on each side; there are fewer at the first and last channels.
        offset: The paper's k.
        alpha: Weight of the sum.
        beta: The power.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    total = lax.reduce_window(
        jnp.square(wide),
        np.array(0, wide.dtype),
        lax.add,
        (1, 1, 1, 2 * radius + 1),
        (1, 1, 1, 1),
        ((0, 0), (0, 0), (0, 0), (radius, radius)),
    )
    return (wide * (offset + alpha * total) ** -beta).astype(x.dtype)
