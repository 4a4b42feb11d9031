"""Where the points of a changed picture come from, so that boxes and masks move with its pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

Shape = tuple[int, int]
"""(height, width) in pixels."""

Boxes = Float[np.ndarray, "boxes 4"]
"""(y0, x0, y1, x1) in [0, 1]: shares of the height and width, y downward."""


class Geometry(NamedTuple):
    """An affine map between two pictures.

    Points are (y, x) in pixels from the upper left corner, y downward: the middle of the first
    pixel is (0.5, 0.5).

    Attributes:
        shape: Of the picture it is applied to.
        size: Of the result.
        back: A point of the result, as (y, x, 1), times this is the point it shows. Must have an
            inverse.
    """

    shape: Shape
    size: Shape
    back: Float[np.ndarray, "2 3"]

    def then(self, other: Geometry) -> Geometry:
        """This one first, then `other`, which is applied to its result."""
        return Geometry(self.shape, other.size, (_square(self.back) @ _square(other.back))[:2])


def crop(shape: Shape, top: int, left: int, size: Shape) -> Geometry:
    """The part of this size whose corner is (top, left); it may lie outside: padding."""
    return Geometry(shape, size, np.array([[1.0, 0.0, top], [0.0, 1.0, left]]))


def resize(shape: Shape, size: Shape) -> Geometry:
    """The whole picture at another size."""
    rows, columns = (old / new for old, new in zip(shape, size, strict=True))
    return Geometry(shape, size, np.array([[rows, 0.0, 0.0], [0.0, columns, 0.0]]))


def flip(shape: Shape) -> Geometry:
    """Left and right exchanged."""
    return Geometry(shape, shape, np.array([[1.0, 0.0, 0.0], [0.0, -1.0, float(shape[1])]]))


def affine(shape: Shape, degrees: float, shift: tuple[float, float], scale: float) -> Geometry:
    """Turned and scaled about the centre, then moved.

    Args:
        shape: Of the picture and the result.
        degrees: Angle, counter-clockwise as seen.
        shift: How far it moves (down, right), in pixels.
        scale: Above 1 enlarges.
    """
    height, width = shape
    centre_y, centre_x = height / 2, width / 2
    cos, sin = (f(math.radians(degrees)) / scale for f in (math.cos, math.sin))
    start_y, start_x = -centre_y - shift[0], -centre_x - shift[1]
    back = (
        (cos, sin, sin * start_x + cos * start_y + centre_y),
        (-sin, cos, cos * start_x - sin * start_y + centre_x),
    )
    return Geometry(shape, shape, np.array(back))


def map_boxes(
    geometry: Geometry, boxes: Boxes, *, keep_share: float = 0.0
) -> tuple[Float[np.ndarray, "boxes 4"], Bool[np.ndarray, " boxes"]]:
    """Where boxes are in the result, and which of them are still there.

    A turned box becomes the upright one around it. What sticks out is cut off.

    Args:
        geometry: What is done to the picture.
        boxes: Of the picture, any number.
        keep_share: A box stays if at least this share of its area is inside the result, in [0, 1],
            and in any case only if some of it is.

    Returns:
        (boxes of the result, whether each stays). One that does not is all zeros, so that the rest
        keeps its place: `boxes[stays]` and `labels[stays]` are those of the result, or `stays` is
        the flag of padded arrays.
    """
    forth = np.linalg.inv(_square(geometry.back))
    rows, columns = boxes[:, [0, 0, 2, 2]], boxes[:, [1, 3, 1, 3]]
    corners = np.stack([rows * geometry.shape[0], columns * geometry.shape[1]], axis=1)
    moved = forth[:2, :2] @ corners + forth[:2, 2:]
    size = np.array(geometry.size)
    around = np.concatenate([moved.min(axis=2) / size, moved.max(axis=2) / size], axis=1)
    inside = np.clip(around, 0.0, 1.0)
    area, left = _area(around), _area(inside)
    stays = (left > 0) & (left >= keep_share * area)
    return np.where(stays[:, None], inside, 0.0).astype(boxes.dtype), stays


def map_mask(
    geometry: Geometry, mask: Integer[np.ndarray, "height width"], *, outside: int
) -> Integer[np.ndarray, "new_height new_width"]:
    """The classes of the result's pixels: each has that of the pixel that its middle shows.

    Args:
        geometry: What is done to the picture; the mask has its shape.
        mask: A class for each pixel.
        outside: The class of pixels that show nothing, usually the one that the loss ignores.
    """
    height, width = geometry.size
    back = geometry.back
    middles = np.arange(height) + 0.5, np.arange(width) + 0.5
    if back[0, 1] == back[1, 0] == 0:
        # Without a turn, rows and columns are looked up by themselves: a hundred times as fast.
        rows, columns = (
            np.floor(back[i, i] * middle + back[i, 2]).astype(np.int64)
            for i, middle in enumerate(middles)
        )
        rows, columns = rows[:, None], columns[None, :]
    else:
        points = np.stack(np.meshgrid(*middles, indexing="ij")).reshape(2, -1)
        found = np.floor(back[:, :2] @ points + back[:, 2:]).astype(np.int64)
        rows, columns = found.reshape(2, height, width)
    there = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    shown = mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)]
    return np.where(there, shown, np.asarray(outside, mask.dtype))


def _square(back: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "3 3"]:
    return np.concatenate([back, [[0.0, 0.0, 1.0]]])


def _area(boxes: Boxes) -> Float[np.ndarray, " boxes"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
