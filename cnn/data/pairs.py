"""Two images an example, for translation: what is given, and what it becomes or is to look like.

Both are one image of twice the channels, so that whatever moves, flips or scales one moves both.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cnn.data.contract import ArraySource, Example, SourceInfo, Sources
from cnn.data.decode import read_file, read_image
from cnn.data.digits import mnist5k
from cnn.data.folder import EVAL_FOLDERS, EXTENSIONS
from cnn.data.resize import resized
from cnn.errors import UserError

CLASS_NAMES = ("pair",)
_INK = 127

Image = UInt8[np.ndarray, "height width channels"]
Half = UInt8[np.ndarray, "height half channels"]


class PairsSource:
    """Files of two images side by side, or two files each, decoded when they are read."""

    def __init__(
        self, files: Sequence[tuple[pathlib.Path, ...]], info: SourceInfo, *, b_to_a: bool
    ) -> None:
        self._files = tuple(files)
        self._b_to_a = b_to_a
        self.labels = np.zeros(len(self._files), np.int64)
        self.info = info

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> tuple[bytes, ...]:
        """As `cnn.data.contract.Encoded`."""
        return tuple(map(read_file, self._files[index]))

    def decoded(self, index: int, stored: tuple[bytes, ...], /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        files = self._files[index]
        images = [
            read_image(each, name=str(path)) for each, path in zip(stored, files, strict=True)
        ]
        first, second = images if len(images) == 2 else _sides(images[0], files[0])
        second = resized(second, first.shape[0], first.shape[1], "bilinear")
        both = (second, first) if self._b_to_a else (first, second)
        return {"image": np.concatenate(both, axis=-1), "label": 0}


def _sides(image: Image, path: pathlib.Path) -> tuple[Half, Half]:
    width = image.shape[1]
    if width % 2:
        raise UserError(
            f"{path} is {width} pixels wide, which is not two images side by side; two folders of "
            "images are read by data.source='unpaired'"
        )
    return image[:, : width // 2], image[:, width // 2 :]


def pairs(
    root: str | os.PathLike[str], train_split: str, eval_split: str, *, b_to_a: bool = False
) -> Sources:
    """Pictures that hold an image and what it becomes side by side, as pix2pix's data sets do.

    Args:
        root: Holds the folders of both splits.
        train_split: A folder; "" is `train`.
        eval_split: A folder; "" is the first there is of `EVAL_FOLDERS`.
        b_to_a: Whether the right half is given, and becomes the left.

    Raises:
        UserError: If a folder or its images are missing; from the sources: if a file cannot be
            read, or its width is odd.
    """
    base = _base(root, "pairs")
    held_out = eval_split or _first(base, EVAL_FOLDERS)

    def source(split: str) -> PairsSource:
        files = [(path,) for path in _images(base / split)]
        return PairsSource(files, SourceInfo(f"{base} {split}", CLASS_NAMES, "pair"), b_to_a=b_to_a)

    return Sources(source(train_split or "train"), source(held_out))


def unpaired(
    root: str | os.PathLike[str], train_split: str, eval_split: str, *, b_to_a: bool = False
) -> Sources:
    """Two folders of images a split that have nothing to do with each other, as CycleGAN's have.

    An example is an image of either: of n in the longer folder, as many, and the shorter one is
    gone through again. Which two come together stays the same; the authors' code draws it anew,
    which for networks that see examples one by one changes only what is averaged with what. The
    second has the first one's size.

    Args:
        root: Holds the folders.
        train_split: The folders are this name with A and B behind it; "" is `train`.
        eval_split: As `train_split`; "" is the first there is of `EVAL_FOLDERS`.
        b_to_a: Whether those of B come first.

    Raises:
        UserError: If a folder or its images are missing; from the sources: if a file cannot be
            read.
    """
    base = _base(root, "unpaired")
    held_out = eval_split or _first(base, [f"{name}A" for name in EVAL_FOLDERS])[:-1]

    def source(split: str) -> PairsSource:
        first, second = (_images(base / f"{split}{kind}") for kind in "AB")
        count = max(len(first), len(second))
        files = [(first[i % len(first)], second[i % len(second)]) for i in range(count)]
        return PairsSource(files, SourceInfo(f"{base} {split}", CLASS_NAMES, "pair"), b_to_a=b_to_a)

    return Sources(source(train_split or "train"), source(held_out))


def outlines(*, paired: bool = True) -> Sources:
    """The outlines of the embedded digits, and the digits: pairs with nothing to download.

    Args:
        paired: Whether an outline comes with its own digit; else with another, and no digit is
            there both ways.
    """

    def source(digits: ArraySource) -> ArraySource:
        images = np.stack([digits[index]["image"] for index in range(len(digits))])
        given = becomes = images
        if not paired:
            given, becomes = images[::2], images[1::2]
            # Neighbours are of one class.
            becomes = np.roll(becomes, len(becomes) // 3, axis=0)
        both = np.concatenate([outlined(given), becomes], axis=-1)
        info = SourceInfo(f"outlines of {digits.info.name}", CLASS_NAMES, "pair")
        return ArraySource(both, np.zeros(len(both), np.int64), info)

    train, held_out = mnist5k()
    assert isinstance(train, ArraySource)
    assert isinstance(held_out, ArraySource)
    return Sources(source(train), source(held_out))


def outlined(
    images: UInt8[np.ndarray, "images height width channels"],
) -> UInt8[np.ndarray, "images height width channels"]:
    """White where a bright pixel has a dark one beside it, black elsewhere."""
    ink = np.pad(images > _INK, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inner = ink[:, :-2, 1:-1] & ink[:, 2:, 1:-1] & ink[:, 1:-1, :-2] & ink[:, 1:-1, 2:]
    return ((ink[:, 1:-1, 1:-1] & ~inner) * 255).astype(np.uint8)


def _base(root: str | os.PathLike[str], kind: str) -> pathlib.Path:
    if not str(root):
        raise UserError(f"data.source={kind!r} needs data.root, the folder of its splits")
    return pathlib.Path(root).expanduser()


def _first(base: pathlib.Path, names: Sequence[str]) -> str:
    found = next((name for name in names if (base / name).is_dir()), None)
    if found is None:
        raise UserError(f"no folder to evaluate on in {str(base)!r} (known: {', '.join(names)})")
    return found


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder.name!r} in {str(folder.parent)!r}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise UserError(f"no images in {str(folder)!r}")
    return found
