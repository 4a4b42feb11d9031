"""What the taps of a window see of an image: the slices that shifted products are made of."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

from cnn.ops.window import Slide

Image = Shaped[Array, "batch _ _ _"]


def pad(
    x: Image,
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
    value: float = 0.0,
) -> Image:
    """Pixels of `value` (before, after, between) the rows and the columns; negative ones crop.

    The barrier keeps XLA from asking at every tap of every pixel whether it is padding: on a CPU a
    depthwise convolution is three times slower without.
    """
    config = ((0, 0, 0), rows, columns, (0, 0, 0))
    if all(side == 0 for axis in config for side in axis):
        return x
    return lax.optimization_barrier(lax.pad(x, np.array(value, x.dtype), config))


def padded(x: Image, slide: Slide, value: float = 0.0) -> Image:
    """The image with the padding of the window."""
    (above, below), (left, right) = slide.padding
    return pad(x, (above, below, 0), (left, right, 0), value)


def slices(x: Image, slide: Slide) -> Iterator[tuple[int, int, Image]]:
    """(row, column, what it sees of the padded image) of each tap, each of the output's size."""
    height, width = slide.size
    for row in range(slide.window[0]):
        for column in range(slide.window[1]):
            top, left = row * slide.dilation[0], column * slide.dilation[1]
            bottom = top + (height - 1) * slide.stride[0] + 1
            right = left + (width - 1) * slide.stride[1] + 1
            yield row, column, x[:, top : bottom : slide.stride[0], left : right : slide.stride[1]]


def spread(
    arrays: tuple[Image, ...], slide: Slide, weigh: Callable[..., Image]
) -> Float[Array, "batch _ _ _"]:
    """The transpose of `slices`: each pixel sums what the taps that saw it make of the outputs.

    With a stride, the pixels are taken in phases, those of one remainder by the stride at a time: a
    phase is seen by few of the taps, so no product is with a zero between outputs.

    Args:
        arrays: Each of the output's size.
        slide: The window.
        weigh: (row, column, *arrays shifted to the pixels that the tap saw) -> what it adds.
    """
    rows, columns = (_phases(slide, axis) for axis in (0, 1))
    arrays = tuple(pad(array, (*rows.margin, 0), (*columns.margin, 0)) for array in arrays)

    def phase(row: int, column: int) -> Image:
        total = None
        for i, top in rows.seen[row]:
            for j, left in columns.seen[column]:
                bottom, right = top + rows.length, left + columns.length
                term = weigh(i, j, *(array[:, top:bottom, left:right] for array in arrays))
                total = term if total is None else total + term
        if total is None:
            return jnp.zeros_like(arrays[0], shape=empty)
        return total

    batch, channels = arrays[0].shape[0], arrays[0].shape[-1]
    empty = (batch, rows.length, columns.length, channels)
    if slide.stride == (1, 1):
        return phase(0, 0)
    down, across = slide.stride
    parts = [phase(row, column) for row in range(down) for column in range(across)]
    parts = jnp.stack(lax.optimization_barrier(parts), 3)
    parts = parts.reshape(batch, rows.length, columns.length, down, across, channels)
    whole = parts.transpose(0, 1, 3, 2, 4, 5)
    whole = whole.reshape(batch, rows.length * down, columns.length * across, channels)
    return whole[:, : slide.image[0], : slide.image[1]]


class _Phases(NamedTuple):
    """What the pixels of each remainder by the stride are seen by, along one axis.

    Attributes:
        seen: For each remainder (tap, first output that saw such a pixel through it, in the padded
            output).
        margin: Outputs to be added before and after.
        length: Pixels of a phase.
    """

    seen: tuple[tuple[tuple[int, int], ...], ...]
    margin: tuple[int, int]
    length: int


def _phases(slide: Slide, axis: int) -> _Phases:
    stride, before = slide.stride[axis], slide.padding[axis][0]
    length = -(-slide.image[axis] // stride)
    seen = [
        [
            (tap, (phase + before - tap * slide.dilation[axis]) // stride)
            for tap in range(slide.window[axis])
            if (phase + before - tap * slide.dilation[axis]) % stride == 0
        ]
        for phase in range(stride)
    ]
    starts = [start for taps in seen for _, start in taps]
    low, high = max(0, -min(starts)), max(0, max(starts) + length - slide.size[axis])
    shifted = tuple(tuple((tap, start + low) for tap, start in taps) for taps in seen)
    return _Phases(shifted, (low, high), length)
