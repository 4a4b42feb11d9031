"""Changes of an evaluation's images, the same ones whenever an image is looked at."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cnn.compare.settings import Robustness
from cnn.data import distort
from cnn.data.moves import Affine, Crop
from cnn.data.resize import Pixels
from cnn.data.transforms import ModelInput, Preprocess

DIRECTIONS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))


class Condition(NamedTuple):
    """One change: its kind, a key of `CORRUPTIONS`, "size" or "none", and how much of it."""

    kind: str
    amount: float


def shift(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Moved by `amount` pixels, rounded, in one of eight directions; black comes in."""
    height, width = image.shape[:2]
    down, right = (round(amount) * step for step in DIRECTIONS[rng.integers(len(DIRECTIONS))])
    return Crop(-down, -right, height, width).pixels(image)


def rotation(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Turned by `amount` degrees to one side or the other, about the centre; black comes in."""
    side = 1 if rng.integers(2) else -1
    return Affine(side * amount, (0.0, 0.0), 1.0).pixels(image)


def noise(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """With Gaussian noise of deviation `amount`, where white is 1, in each pixel and channel."""
    noisy = image + 255 * amount * rng.standard_normal(image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def blur(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Smoothed by a Gaussian of deviation `amount` in pixels."""
    del rng
    return distort.gaussian_blur(image, amount)


CORRUPTIONS: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "shift": shift,
    "rotation": rotation,
    "noise": noise,
    "blur": blur,
}
_IN_PIXELS = ("shift", "blur")


def conditions(robustness: Robustness) -> Iterator[Condition]:
    """No change, then all that are tried, by kind, the smallest first."""
    amounts = {
        "shift": robustness.shifts_px,
        "rotation": robustness.rotations_degrees,
        "noise": robustness.noise_stds,
        "blur": robustness.blur_sigmas_px,
        "size": robustness.image_sizes,
    }
    yield Condition("none", 0.0)
    for kind, values in amounts.items():
        for value in values:
            yield Condition(kind, float(value))


def make_view(
    condition: Condition, preprocess: Preprocess, image_size: int
) -> Callable[[Pixels], ModelInput]:
    """Picture -> what a model sees of it under the condition.

    What is random is drawn from the picture's own bytes: neither the order of pictures nor that of
    conditions matters, and every model sees the same.

    Args:
        condition: What is changed.
        preprocess: From pictures to the model's images.
        image_size: Of the images that the condition's pixels are of; they are scaled where the
            model's are larger or smaller.
    """
    if condition.kind == "none":
        return preprocess
    scale = preprocess.image_size / image_size
    if condition.kind == "size":
        return preprocess.changed(image_size=round(condition.amount * scale))
    change = CORRUPTIONS[condition.kind]
    amount = condition.amount * (scale if condition.kind in _IN_PIXELS else 1.0)

    def view(picture: Pixels) -> ModelInput:
        rng = np.random.default_rng(zlib.crc32(picture.tobytes()))
        return preprocess.normalise(change(preprocess.fit(picture), amount, rng))

    return view
