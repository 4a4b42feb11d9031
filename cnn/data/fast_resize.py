"""Antialiased resizing several times as fast as Pillow's, to the same pixels but for rounding."""

from __future__ import annotations

import threading

import cykooz_resizer as resizer
import numpy as np

from cnn.data.resize import Pixels, Resized, resized

_FILTERS = {
    "bilinear": resizer.FilterType.bilinear,
    "bicubic": resizer.FilterType.catmull_rom,
    "lanczos": resizer.FilterType.lanczos3,
}
_PIXELS = {1: resizer.PixelType.U8, 3: resizer.PixelType.U8x3}
_local = threading.local()


def fast_resized(image: Pixels, height: int, width: int, interpolation: str) -> Resized:
    """The image at another size, as `resized` makes it with the same filter, for training.

    The filters are Pillow's, computed with vector instructions: results differ by at most a level
    for "bilinear", and by a few where "bicubic" and "lanczos" overshoot. What these cannot do,
    other filters and other numbers of channels than 1 and 3, Pillow does.

    Args:
        image: The image.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        interpolation: A key of `cnn.data.resize.INTERPOLATIONS`.
    """
    channels = image.shape[-1]
    if image.shape[:2] == (height, width):
        return image
    if interpolation not in _FILTERS or channels not in _PIXELS:
        return resized(image, height, width, interpolation)
    # A resizer keeps buffers, so each thread has its own.
    if not hasattr(_local, "resizer"):
        _local.resizer = resizer.Resizer()
    pixels = _PIXELS[channels]
    source = resizer.ImageData(image.shape[1], image.shape[0], pixels, image.tobytes())
    result = resizer.ImageData(width, height, pixels)
    algorithm = resizer.ResizeAlg.convolution(_FILTERS[interpolation])
    _local.resizer.resize(source, result, resizer.ResizeOptions(resize_alg=algorithm))
    return np.frombuffer(result.get_buffer(), np.uint8).reshape(height, width, channels)
