"""Resizing and other operations of Pillow, on images of any number of channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width channels"]
Resized = UInt8[np.ndarray, "new_height new_width channels"]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters; all but "nearest" widen with the scale, so that shrinking does not alias."""


def resized(image: Pixels, height: int, width: int, interpolation: str) -> Resized:
    """The image at another size, by Pillow's `resize` (antialiased)."""
    if image.shape[:2] == (height, width):
        return image
    method = INTERPOLATIONS[interpolation]
    return by_pillow(image, lambda picture: picture.resize((width, height), method))


def by_pillow(image: Pixels, operate: Callable[[Image.Image], Image.Image]) -> Resized:
    """Applies a Pillow operation to an image of any number of channels."""
    if image.shape[-1] == 3:
        return np.asarray(operate(Image.fromarray(image)))
    planes = (Image.fromarray(image[:, :, i]) for i in range(image.shape[-1]))
    if image.shape[-1] == 1:
        return np.asarray(operate(next(planes)))[:, :, None]
    return np.stack([np.asarray(operate(plane)) for plane in planes], axis=-1)
