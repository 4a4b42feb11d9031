"""Boxes drawn over a picture, each with what it is and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float, Integer, UInt8
from PIL import ImageDraw, ImageFont

from cnn.report.overlay import palette, rgb
from cnn.report.picture import Picture

MIN_PX = 320
"""Smaller pictures are enlarged before they are drawn on, since nobody could read the words."""
_TEXT_PX = 13

Drawn = UInt8[np.ndarray, "new_height new_width 3"]


def drawn(
    picture: Picture,
    boxes: Float[np.ndarray, "boxes 4"],
    labels: Integer[np.ndarray, " boxes"],
    captions: Sequence[str],
) -> Drawn:
    """The picture, enlarged if it is small, with its boxes in the colours of their classes.

    Args:
        picture: Of any size.
        boxes: (y0, x0, y1, x1) as shares.
        labels: Of their classes, from 0 on.
        captions: Of each, what stands at its upper left corner; the first is drawn last.
    """
    base = PIL.Image.fromarray(np.ascontiguousarray(enlarged(rgb(picture))))
    draw = ImageDraw.Draw(base)
    font = ImageFont.load_default(_TEXT_PX)
    line = max(2, max(base.size) // 250)
    # Class 0 is not the background here, whose colour is black.
    colours = palette()[1 + np.asarray(labels, np.int64) % 255]
    for box, colour, text in reversed(list(zip(boxes, colours, captions, strict=True))):
        y0, x0, y1, x1 = (float(side) for side in box)
        corners = (x0 * base.width, y0 * base.height, x1 * base.width, y1 * base.height)
        rim = tuple(int(level) for level in colour)
        draw.rectangle(corners, outline=rim, width=line)
        _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = min(max(corners[0], 0), max(base.width - right - 4, 0))
        y = max(corners[1] - bottom - 2, 0)
        draw.rectangle((x, y, x + right + 3, y + bottom + 2), fill=rim)
        ink = "black" if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else "white"
        draw.text((x + 2, y), text, fill=ink, font=font)
    return np.asarray(base)


def captions(
    labels: Integer[np.ndarray, " boxes"],
    scores: Float[np.ndarray, " boxes"],
    class_names: Sequence[str],
) -> list[str]:
    """The class of each box, and its score."""
    return [
        f"{class_names[label]} {score:.2f}" for label, score in zip(labels, scores, strict=True)
    ]


def enlarged(picture: UInt8[np.ndarray, "height width 3"]) -> Drawn:
    """The picture as many times as large, each pixel a square, as its longer side has `MIN_PX`."""
    times = max(1, round(MIN_PX / max(picture.shape[:2])))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
