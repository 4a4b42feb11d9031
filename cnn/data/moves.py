"""The steps that bring the pixels of a picture elsewhere: cropped, resized, flipped, turned.

A step does two things: `pixels` changes a picture, `geometry` says where its points went. Steps
that were drawn once are applied to a picture by `move`, and to its boxes and masks by the
`geometry_of` them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cnn.data import geometry
from cnn.data.contract import IGNORED
from cnn.data.geometry import Geometry, Shape
from cnn.data.resize import Pixels, Resized, by_pillow


@runtime_checkable
class Move(Protocol):
    """A step; it may depend on the shape of the picture, never on its pixels."""

    def pixels(self, image: Pixels) -> Resized:
        """The picture after it."""
        ...

    def geometry(self, shape: Shape) -> Geometry:
        """Of a picture of this shape."""
        ...


def move(image: Pixels, moves: Sequence[Move]) -> Resized:
    """The picture after all steps."""
    for step in moves:
        image = step.pixels(image)
    return image


def geometry_of(shape: Shape, moves: Sequence[Move]) -> tuple[Geometry, ...]:
    """Of each step, for a picture of this shape: what `map_boxes` and `map_mask` take."""
    steps: list[Geometry] = []
    for each in moves:
        steps.append(each.geometry(steps[-1].size if steps else shape))
    return tuple(steps)


def moved_mask(
    mask: UInt8[np.ndarray, "height width"], moves: Sequence[Move]
) -> UInt8[np.ndarray, "new_height new_width"]:
    """The mask of a picture after all steps; pixels that show nothing of it are `IGNORED`."""
    height, width = mask.shape
    return geometry.map_mask(geometry_of((height, width), moves), mask, outside=IGNORED)


class Crop(NamedTuple):
    """A part in whole pixels; where it lies outside the picture, it is filled.

    Attributes:
        top: First row; below 0 it pads.
        left: First column.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        fill: Level of each channel outside, or one for all; 0 is black.
    """

    top: int
    left: int
    height: int
    width: int
    fill: tuple[int, ...] = (0,)

    def pixels(self, image: Pixels) -> Resized:
        """A view where nothing is to be filled."""
        top, left, bottom, right = (
            self.top,
            self.left,
            self.top + self.height,
            self.left + self.width,
        )
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if inside.shape[:2] == (self.height, self.width):
            return inside
        result = np.empty((self.height, self.width, image.shape[-1]), np.uint8)
        result[:] = self.fill
        rows, columns = max(-top, 0), max(-left, 0)
        result[rows : rows + inside.shape[0], columns : columns + inside.shape[1]] = inside
        return result

    def geometry(self, shape: Shape) -> Geometry:
        """Of a picture of this shape."""
        return geometry.crop(shape, self.top, self.left, (self.height, self.width))


class Resize(NamedTuple):
    """The whole picture at another size.

    Attributes:
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        interpolation: A key of `cnn.data.resize.INTERPOLATIONS`.
        by: `cnn.data.resize.resized` or `cnn.data.fast_resize.fast_resized`.
    """

    height: int
    width: int
    interpolation: str
    by: Callable[[Pixels, int, int, str], Resized]

    def pixels(self, image: Pixels) -> Resized:
        """Antialiased, unless the interpolation is "nearest"."""
        return self.by(image, self.height, self.width, self.interpolation)

    def geometry(self, shape: Shape) -> Geometry:
        """Of a picture of this shape."""
        return geometry.resize(shape, (self.height, self.width))


class Flip(NamedTuple):
    """Left and right exchanged."""

    def pixels(self, image: Pixels) -> Resized:
        """A copy, channel by channel: a fifth of the time that NumPy takes for a view's pixels."""
        result = np.empty_like(image, order="C")
        for channel in range(image.shape[-1]):
            result[:, :, channel] = image[:, ::-1, channel]
        return result

    def geometry(self, shape: Shape) -> Geometry:
        """Of a picture of this shape."""
        return geometry.flip(shape)


class Affine(NamedTuple):
    """Turned and scaled about the centre, then moved; bilinear, black outside.

    Attributes:
        degrees: Angle, counter-clockwise as seen.
        shift: How far it moves (down, right), in pixels.
        scale: Above 1 enlarges.
    """

    degrees: float
    shift: tuple[float, float]
    scale: float

    def pixels(self, image: Pixels) -> Resized:
        """By Pillow, which cuts to whole levels."""
        height, width = image.shape[:2]
        (yy, yx, y0), (xy, xx, x0) = self.geometry((height, width)).back.tolist()
        # Pillow asks where each pixel of the result comes from, in (x, y) with y downward.
        matrix = (xx, xy, x0, yx, yy, y0)
        method, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
        return by_pillow(
            image, lambda picture: picture.transform((width, height), method, matrix, filter_)
        )

    def geometry(self, shape: Shape) -> Geometry:
        """Of a picture of this shape."""
        return geometry.affine(shape, *self)
