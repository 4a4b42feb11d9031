"""Anchors: the boxes around each pixel of a map that a detector's deltas start from.

Boxes are (y0, x0, y1, x1) in pixels of the image; a map's come row by row, those of one pixel one
after another. The numbers are torchvision's to the last bit, so that its weights find what they
found there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn.errors import UserError

Size = tuple[int, int]
Anchors = Float[Array, "_ 4"]


def grid_anchors(
    image: Size, maps: Sequence[Size], *, sizes: Sequence[Sequence[int]], ratios: Sequence[float]
) -> list[Anchors]:
    """Anchors of each map; Ren et al. 2015, "Faster R-CNN", section 3.1.1.

    Args:
        image: Height and width.
        maps: Of each map.
        sizes: For each map, the roots of the areas of a pixel's anchors.
        ratios: Of height over width. A pixel has all sizes of the first, then of the second ...

    Raises:
        UserError: If there are not as many sizes as maps.
    """
    if len(sizes) != len(maps):
        raise UserError(
            f"anchor_sizes has {len(sizes)} entries for {len(maps)} maps; give each one"
        )
    return [
        _placed(image, size, _cell(of_map, ratios))
        for size, of_map in zip(maps, sizes, strict=True)
    ]


def parts_of(anchors: Sequence[Anchors]) -> list[slice]:
    """Where the anchors of each map are among those of all."""
    ends = np.cumsum([0, *map(len, anchors)]).tolist()
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _cell(sizes: Sequence[int], ratios: Sequence[float]) -> Float[np.ndarray, "anchors 4"]:
    """The anchors around the point 0, of whole pixels."""
    # In float32 as torchvision's: what is rounded may lie at a half.
    heights = np.sqrt(np.asarray(ratios, np.float32))
    widths = 1 / heights
    tall, wide = (
        (factors[:, None] * np.asarray(sizes, np.float32)[None]).reshape(-1)
        for factors in (heights, widths)
    )
    return np.round(np.stack([-tall, -wide, tall, wide], axis=1) / 2)


def _placed(image: Size, size: Size, cell: Float[np.ndarray, "of_pixel 4"]) -> Anchors:
    """The anchors around each pixel of a map."""
    height, width = size
    # As torchvision: where a map is no exact part of the image, strides are rounded down.
    rows = jnp.arange(height, dtype=jnp.float32) * (image[0] // height)
    columns = jnp.arange(width, dtype=jnp.float32) * (image[1] // width)
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    points = jnp.stack([y, x, y, x], axis=-1).reshape(-1, 1, 4)
    return (points + jnp.asarray(cell)[None]).reshape(-1, 4)


class DefaultBoxes(NamedTuple):
    """What SSD's anchors are made of; Liu et al. 2016, "SSD", section 2.2.

    Attributes:
        scales: Of each map, as shares of the image, and one more.
        ratios: Of each map, beside 1: of a width over a height, and the other way round.
        strides: Of each map, in pixels of the image; () takes them from the maps' sizes.
    """

    scales: Sequence[float]
    ratios: Sequence[Sequence[float]]
    strides: Sequence[int]

    def per_pixel(self) -> tuple[int, ...]:
        """How many anchors a pixel of each map has."""
        return tuple(2 + 2 * len(ratios) for ratios in self.ratios)

    def place(self, image: Size, maps: Sequence[Size]) -> Anchors:
        """The anchors of all maps; none is larger than the image, but they may reach over it."""
        return jnp.concatenate([self._of(index, image, size) for index, size in enumerate(maps)])

    def _of(self, index: int, image: Size, size: Size) -> Anchors:
        scale, between = self.scales[index], math.sqrt(math.prod(self.scales[index : index + 2]))
        shares = [(scale, scale), (between, between)]
        for ratio in self.ratios[index]:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shares += [(short, long), (long, short)]
        halves = jnp.minimum(jnp.asarray(shares, jnp.float32), 1) / 2
        strides = self.strides
        counts = [length / strides[index] for length in image] if strides else list(size)
        rows, columns = (
            (jnp.arange(length, dtype=jnp.float32) + 0.5) / count
            for length, count in zip(size, counts, strict=True)
        )
        y, x = jnp.meshgrid(rows, columns, indexing="ij")
        middles = jnp.stack([y, x], axis=-1).reshape(-1, 1, 2)
        corners = [middles - halves[None], middles + halves[None]]
        boxes = jnp.concatenate(corners, axis=-1).reshape(-1, 4)
        return boxes * jnp.asarray([(*image, *image)], jnp.float32)
