"""Pictures composed of the embedded digits, several a scene, whose boxes and masks are known."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cnn.data.contract import Example, Source, SourceInfo, Sources
from cnn.data.digits import CLASS_NAMES, mnist5k
from cnn.errors import UserError, unknown

CLASSES = ("background", *CLASS_NAMES)
_CLASSES = {"mask": CLASSES, "boxes": CLASS_NAMES}
_INK = 96
"""The level from which on a pixel of a digit belongs to it."""
_PLACES = 20
_MAX_SHARED = 0.1
_SCALES = (0.7, 1.6)


class ScenesSource:
    """Digits at random places and of random sizes on a noisy ground that is darker than they are.

    Example i is a function of the part and of i, made when it is read, and the same picture for
    every target. Classes of a mask are the background and the digits, those of boxes the digits.
    """

    def __init__(
        self, part: int, count: int, size_px: int, max_digits: int, info: SourceInfo
    ) -> None:
        self._part = part
        self._count = count
        self._size_px = size_px
        self._max_digits = max_digits
        self.labels = np.zeros(count, np.int64)
        self.info = info

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Example:
        key = np.array([self._part, index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        size = self._size_px
        image = rng.integers(0, 1 + int(rng.integers(1, 96)), (size, size)).astype(np.uint8)
        mask = np.zeros((size, size), np.uint8)
        boxes: list[tuple[int, int, int, int]] = []
        classes = []
        for _ in range(int(rng.integers(1, self._max_digits + 1))):
            digit, label = _digit(_digits(self._part), rng, size)
            box = _free_place(digit.shape, boxes, rng, size)
            if box is None:
                continue
            inside = np.s_[box[0] : box[2], box[1] : box[3]]
            ink = digit >= _INK
            image[inside] = np.maximum(image[inside], digit)
            mask[inside] = np.where(ink, label + 1, mask[inside])
            boxes.append(box)
            classes.append(label)
        example: Example = {"image": image[:, :, None], "label": 0}
        if self.info.target == "mask":
            return {**example, "mask": mask}
        shares = np.array(boxes, np.float32).reshape(-1, 4) / np.float32(size)
        return {**example, "boxes": shares, "box_labels": np.array(classes, np.int64)}


def scenes(
    *,
    num_train: int = 4000,
    num_eval: int = 500,
    size_px: int = 96,
    max_digits: int = 5,
    target: str = "mask",
) -> Sources:
    """Scenes of digits; those of the evaluation are made of digits that the training has not.

    Args:
        num_train: Training scenes, of `mnist5k`'s 4,000 training digits.
        num_eval: Evaluation scenes, of its 1,000 others.
        size_px: Height and width of a scene, in pixels; at least 28.
        max_digits: A scene has one to so many digits; where one finds no free place, fewer.
        target: "mask", a class for each pixel, the background among them; or "boxes", a box and a
            class for each digit.

    Raises:
        UserError: If a number is too small, or there is no such target.
    """
    lowest = {"num_train": 1, "num_eval": 1, "size_px": 28, "max_digits": 1}
    given = {
        "num_train": num_train,
        "num_eval": num_eval,
        "size_px": size_px,
        "max_digits": max_digits,
    }
    for name, value in given.items():
        if value < lowest[name]:
            raise UserError(
                f"data.options.scenes.{name} must be at least {lowest[name]}, got {value}"
            )
    if target not in _CLASSES:
        raise unknown("data.options.scenes.target", target, _CLASSES)
    sizes = size_px, max_digits
    return Sources(
        ScenesSource(0, num_train, *sizes, SourceInfo("scenes train", _CLASSES[target], target)),
        ScenesSource(1, num_eval, *sizes, SourceInfo("scenes eval", _CLASSES[target], target)),
    )


@functools.cache
def _digits(part: int) -> Source:
    return mnist5k()[part]


def _digit(
    source: Source, rng: np.random.Generator, size_px: int
) -> tuple[UInt8[np.ndarray, "height width"], int]:
    """A digit of random size, without its margin, and its class."""
    example = source[int(rng.integers(len(source)))]
    image = example["image"][:, :, 0]
    rows, columns = (np.flatnonzero(image.max(axis=axis) >= _INK) for axis in (1, 0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(rng.uniform(*_SCALES), size_px / max(image.shape))
    height, width = (max(1, int(side * scale)) for side in image.shape)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized), int(np.asarray(example["label"]))


def _free_place(
    shape: tuple[int, ...],
    boxes: list[tuple[int, int, int, int]],
    rng: np.random.Generator,
    size_px: int,
) -> tuple[int, int, int, int] | None:
    """A box of that shape that hardly touches the others; None where none was found."""
    height, width = shape
    for _ in range(_PLACES):
        top = int(rng.integers(size_px - height + 1))
        left = int(rng.integers(size_px - width + 1))
        box = (top, left, top + height, left + width)
        if all(_shared(box, other) <= _MAX_SHARED for other in boxes):
            return box
    return None


def _shared(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """The common area as a share of the smaller box's."""
    height = min(box[2], other[2]) - max(box[0], other[0])
    width = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return max(0, height) * max(0, width) / min(areas)
