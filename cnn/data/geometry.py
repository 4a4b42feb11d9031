"""Where the points of a changed picture come from, so that boxes and masks move with its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    pixel is (0.5, 0.5). Several in a row stay several: what one cuts off, a later one that pads or
    turns does not bring back, so they cannot be multiplied into one map.

    Attributes:
        shape: Of the picture it is applied to.
        size: Of the result.
        back: A point of the result, as (y, x, 1), times this is the point it shows. Must have an
            inverse.
    """

    shape: Shape
    size: Shape
    back: Float[np.ndarray, "2 3"]


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


def undone(steps: Sequence[Geometry]) -> tuple[Geometry, ...]:
    """The steps that lead from the result back to the picture; what was cut off shows nothing."""
    back = []
    for step in reversed(steps):
        matrix = np.linalg.inv(np.vstack([step.back, [0.0, 0.0, 1.0]]))[:2]
        back.append(Geometry(step.size, step.shape, matrix))
    return tuple(back)


def map_boxes(
    steps: Sequence[Geometry], boxes: Boxes, *, keep_share: float = 0.0
) -> tuple[Float[np.ndarray, "boxes 4"], Bool[np.ndarray, " boxes"]]:
    """Where boxes are in the result, and which of them are still there.

    A turned box becomes the upright one around it. What sticks out is cut off after each step.

    Args:
        steps: What is done to the picture, one after the other.
        boxes: Of the picture, any number.
        keep_share: A box stays if at least this share of its area is left, in [0, 1], and in any
            case only if some of it is.

    Returns:
        (boxes of the result, whether each stays). One that does not is all zeros, so that the rest
        keeps its place: `boxes[stays]` and `labels[stays]` are those of the result, or `stays` is
        the flag of padded arrays.
    """
    found, share = boxes.astype(np.float64), np.ones(len(boxes))
    for step in steps:
        around = _around(step, found)
        found = np.clip(around, 0.0, 1.0)
        area = _area(around)
        share *= np.divide(_area(found), area, out=np.zeros_like(area), where=area > 0)
    stays = (share > 0) & (share >= keep_share) & (_area(found) > 0)
    return np.where(stays[:, None], found, 0.0).astype(boxes.dtype), stays


def map_mask(
    steps: Sequence[Geometry], mask: Integer[np.ndarray, "height width"], *, outside: int
) -> Integer[np.ndarray, "new_height new_width"]:
    """The classes of the result's pixels: each has that of the pixel that its middle shows.

    Args:
        steps: What is done to the picture, one after the other; the mask has its shape.
        mask: A class for each pixel.
        outside: The class of pixels that show nothing, usually the one that the loss ignores.
    """
    height, width = steps[-1].size if steps else mask.shape
    # As long as nothing is turned, a column and a row of numbers are enough.
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    there = np.ones((height, width), bool)
    for step in reversed(steps):
        (yy, yx, y0), (xy, xx, x0) = step.back.tolist()
        rows, columns = (
            yy * rows + (yx * columns if yx else 0.0) + y0,
            xx * columns + (xy * rows if xy else 0.0) + x0,
        )
        there &= (rows >= 0) & (rows < step.shape[0]) & (columns >= 0) & (columns < step.shape[1])
    shown = mask[
        np.floor(rows).astype(np.int64).clip(0, mask.shape[0] - 1),
        np.floor(columns).astype(np.int64).clip(0, mask.shape[1] - 1),
    ]
    return np.where(there, shown, np.asarray(outside, mask.dtype))


def _around(step: Geometry, boxes: Boxes) -> Float[np.ndarray, "boxes 4"]:
    """The upright boxes around those of a picture, after a step."""
    rows, columns = boxes[:, [0, 0, 2, 2]], boxes[:, [1, 3, 1, 3]]
    corners = np.stack([rows * step.shape[0], columns * step.shape[1]], axis=1)
    moved = np.linalg.inv(step.back[:, :2]) @ (corners - step.back[:, 2:])
    size = np.array(step.size)
    return np.concatenate([moved.min(axis=2) / size, moved.max(axis=2) / size], axis=1)


def _area(boxes: Boxes) -> Float[np.ndarray, " boxes"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
