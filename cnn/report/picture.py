"""Pictures as bytes: PNG in and out, and data URIs for a page without files beside it."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width channels"]

_BOX = PIL.Image.Resampling.BOX


def encode_png(image: Picture) -> bytes:
    """The picture as PNG, without loss for 1 (grey), 3 (RGB) and 4 (RGBA) channels.

    Of any other number of channels the first is kept, since a report must show something.
    """
    if image.shape[-1] not in (1, 3, 4):
        image = image[..., :1]
    array = image[..., 0] if image.shape[-1] == 1 else image
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def decode_png(content: bytes) -> Picture:
    """The inverse of `encode_png`."""
    with PIL.Image.open(io.BytesIO(content)) as file:
        array = np.asarray(file)
    return array[..., np.newaxis] if array.ndim == 2 else array


def shrunk(
    image: Picture, *, limit_px: int = 320
) -> UInt8[np.ndarray, "shrunk_height shrunk_width channels"]:
    """The picture with its longer side scaled down to the limit, or as it is if that is smaller."""
    height, width, channels = image.shape
    if max(height, width) <= limit_px:
        return image
    ratio = limit_px / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    planes = [
        np.asarray(
            PIL.Image.fromarray(np.ascontiguousarray(image[..., channel])).resize(size, _BOX)
        )
        for channel in range(channels)
    ]
    return np.stack(planes, axis=-1)


def data_uri(image: Picture) -> str:
    """The picture as `data:image/png;base64,...`, as large as it is."""
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
