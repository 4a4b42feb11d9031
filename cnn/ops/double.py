"""Dense convolution in double precision on a CPU: one matrix product for each tap.

XLA's fast convolutions there are of single precision; those of double are scalar loops. What checks
a network's derivatives to more than seven digits runs here in a small part of their time.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.taps import padded, slices
from cnn.ops.window import Slide

Image = Float[Array, "batch _ _ _"]
Kernel = Float[Array, "_ _ _ _"]


def forward(x: Image, kernel: Kernel, slide: Slide) -> Image:
    """The convolution."""
    seen = slices(padded(x, slide), slide)
    return jnp.asarray(
        sum(lax.dot_general(y, kernel[i, j], (((3,), (0,)), ((), ()))) for i, j, y in seen)
    )


def image_gradient(g: Image, kernel: Kernel, slide: Slide) -> Image:
    """What `forward` gives back to the image."""
    x = jax.ShapeDtypeStruct((g.shape[0], *slide.image, kernel.shape[2]), g.dtype)
    (dx,) = jax.linear_transpose(lambda x: forward(x, kernel, slide), x)(g)
    return dx


def kernel_gradient(x: Image, g: Image, slide: Slide) -> Kernel:
    """What `forward` gives back to the kernel."""
    kernel = jax.ShapeDtypeStruct((*slide.window, x.shape[3], g.shape[3]), g.dtype)
    (dk,) = jax.linear_transpose(lambda kernel: forward(x, kernel, slide), kernel)(g)
    return dk
