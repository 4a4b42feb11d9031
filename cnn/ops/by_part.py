"""The gradient by the kernel of a dense convolution on a CPU, a part of the batch at a time.

It is a convolution whose channels are the examples. XLA's slows down where images and gradients
together outgrow the caches: on two cores, 3x3 from 128 to 128 channels at 112 pixels, the gradient
of eight examples took 6.8 s at once and 1.5 s one by one.
"""

from jax import lax
from jaxtyping import Array, Float

from cnn.ops import plain
from cnn.ops.window import Slide

Image = Float[Array, "batch _ _ _"]
Kernel = Float[Array, "_ _ _ _"]

_WHOLE_BYTES = 2**24
"""Of images and gradients: up to here parts are no faster."""
_PART_BYTES = 2**21
_MAX_PARTS = 32
"""Each is an operation of the program, whose compiling takes its time."""


def kernel_gradient(x: Image, g: Image, slide: Slide) -> Kernel:
    """What a dense `forward` gives back to the kernel."""
    count = len(x)
    size = -(-count // num_parts(x, g))
    if size < count:
        # Else what made them would be compiled, and computed, anew for every part.
        x, g = lax.optimization_barrier((x, g))
    parts = [
        plain.kernel_gradient(
            lax.slice_in_dim(x, start, min(start + size, count)),
            lax.slice_in_dim(g, start, min(start + size, count)),
            slide,
        )
        for start in range(0, count, size)
    ]
    total, *others = parts
    for part in others:
        total += part
    return total


def num_parts(x: Image, g: Image) -> int:
    """Into how many parts a batch is cut; one has at least one example."""
    num_bytes = x.nbytes + g.nbytes
    if num_bytes <= _WHOLE_BYTES:
        return 1
    return min(len(x), _MAX_PARTS, -(-num_bytes // _PART_BYTES))
