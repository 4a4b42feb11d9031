"""Sheets of many small images, and those that a run keeps of its training, in `workdir/samples`."""

from __future__ import annotations

import math
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cnn.report import files, picture

FOLDER = "samples"
KEPT_IMAGES = 64
_GAP_PX = 2
_PAPER = 255

Pictures = UInt8[np.ndarray, "images height width channels"]


class Kept(NamedTuple):
    """A sheet that a run kept, and the step after which it was made."""

    step: int
    sheet: picture.Picture


def pixels(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Images with pixels from -1 to 1, as generators make them, as pictures."""
    return np.clip(np.round((images + 1) * 127.5), 0, 255).astype(np.uint8)


def sheet(
    pictures: Pictures, columns: int = 0
) -> UInt8[np.ndarray, "sheet_height sheet_width channels"]:
    """Pictures side by side with a white gap, row after row.

    Args:
        pictures: At least one.
        columns: Of a full row; 0 makes the sheet about as many pictures high as wide.
    """
    count, height, width, channels = pictures.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    cell = (height + _GAP_PX, width + _GAP_PX)
    page = np.full((rows * cell[0] - _GAP_PX, columns * cell[1] - _GAP_PX, channels), _PAPER)
    for index, one in enumerate(pictures):
        top, left = index // columns * cell[0], index % columns * cell[1]
        page[top : top + height, left : left + width] = one
    return page.astype(np.uint8)


def save_step(
    workdir: pathlib.Path, step: int, images: Float[np.ndarray, "images height width channels"]
) -> pathlib.Path:
    """Keeps a sheet of the first 64 of the images that were made after `step`; returns its path.

    Raises:
        UserError: If it cannot be written.
    """
    folder = workdir / FOLDER
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:08d}.png"
    files.write_atomically(path, picture.encode_png(sheet(pixels(images[:KEPT_IMAGES]))))
    return path


def kept(workdir: pathlib.Path, limit: int = 6) -> list[Kept]:
    """The sheets of a run, in order; of more than `limit` the last and others spread evenly."""
    paths = sorted(path for path in (workdir / FOLDER).glob("*.png") if path.stem.isdigit())
    count = min(limit, len(paths))
    places = [(index + 1) * len(paths) // count - 1 for index in range(count)]
    return [Kept(int(paths[i].stem), picture.decode_png(paths[i].read_bytes())) for i in places]
