"""Regions drawn over a picture, in colours that stay apart."""

from __future__ import annotations

import pathlib

import numpy as np
import PIL.Image
from jaxtyping import Integer, UInt8

from cnn.report.picture import Picture

IGNORED = 255
OPACITY = 0.55

Drawn = UInt8[np.ndarray, "height width 3"]


def palette(count: int = 256) -> UInt8[np.ndarray, "classes 3"]:
    """A colour for each class, those of PASCAL VOC's masks: 0 is black, 255 a light gray.

    Bit 3 k + c of a class's number is bit 7 - k of channel c.
    """
    numbers = np.arange(count)[:, None]
    colours = np.zeros((count, 3), np.int64)
    for bit in range(8):
        channels = (numbers >> (3 * bit + np.arange(3)[None, :])) & 1
        colours |= channels << (7 - bit)
    return colours.astype(np.uint8)


def rgb(picture: Picture) -> Drawn:
    """A gray picture, or one with transparency, in three channels."""
    if picture.shape[-1] == 1:
        return np.repeat(picture, 3, axis=-1)
    return picture[:, :, :3]


def drawn(picture: Picture, classes: Integer[np.ndarray, "height width"]) -> Drawn:
    """The picture with its regions in colour, their edges in full; class 0 and 255 are left.

    Args:
        picture: Of the size of the classes.
        classes: Of each pixel.
    """
    base = rgb(picture).astype(np.float32)
    colours = palette()[classes].astype(np.float32)
    inside = (classes != 0) & (classes != IGNORED)
    edge = np.zeros_like(inside)
    edge[1:] |= classes[1:] != classes[:-1]
    edge[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    share = np.where(inside, np.where(edge, 1.0, OPACITY), 0.0)[..., None].astype(np.float32)
    return np.round(base * (1 - share) + colours * share).astype(np.uint8)


def save_mask(path: pathlib.Path, classes: UInt8[np.ndarray, "height width"]) -> None:
    """Writes a PNG whose pixels are the classes, with the palette."""
    image = PIL.Image.fromarray(classes)
    image.putpalette(palette().tobytes())
    image.save(path, format="PNG")
