"""Random changes of training images, each a pure function of (image, random generator)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool
from PIL import Image

from cnn.data.fast_resize import fast_resized
from cnn.data.transforms import ModelInput, Pixels, Preprocess, by_pillow, to_channels
from cnn.errors import UserError

_CROP_TRIES = 10
_BELOW_1 = math.nextafter(1.0, 0.0)
_FLIP_STREAM = 1 << 61
"""In the half of a Philox key that holds the epoch elsewhere, it parts flips from order."""


def make_augment(
    preprocess: Preprocess,
    *,
    crop_area_min: float = 0.0,
    crop_ratio_max: float = 4 / 3,
    flip_rate: float = 0.0,
    pad_px: int = 0,
    rotate_degrees: float = 0.0,
    shift_fraction: float = 0.0,
    scale_fraction: float = 0.0,
) -> Callable[[Pixels, np.random.Generator], ModelInput]:
    """The transform of training: these in their order, `preprocess.change`, then normalised.

    Args:
        preprocess: Brings the image to its size (unless a random crop does) and normalises it.
        crop_area_min: A random crop, resized to the model's size, takes at least this share of the
            area, in (0, 1]: Inception's and torchvision's RandomResizedCrop, where it is 0.08. 0
            is off: the image is fitted as in evaluation.
        crop_ratio_max: Largest width / height of that crop, at least 1; the smallest is 1 / this.
        flip_rate: Probability of a left-right flip, in [0, 1].
        pad_px: The image is padded with this many black pixels on each side and cropped back at
            random (4 is usual for CIFAR-10); 0 is off.
        rotate_degrees: Turned by an angle uniform in plus or minus this.
        shift_fraction: Moved in both directions by a share of the side uniform in plus or minus
            this, in [0, 1).
        scale_fraction: Enlarged by a factor uniform in 1 plus or minus this, in [0, 1).

    Returns:
        (image of any size, generator) -> what the model sees.

    Raises:
        UserError: If a value is out of its range.
    """
    _check("crop_area_min", crop_area_min, 0.0, 1.0)
    _check("crop_ratio_max", crop_ratio_max, 1.0, math.inf)
    _check("flip_rate", flip_rate, 0.0, 1.0)
    _check("pad_px", float(pad_px), 0.0, math.inf)
    _check("rotate_degrees", rotate_degrees, 0.0, 180.0)
    _check("shift_fraction", shift_fraction, 0.0, _BELOW_1)
    _check("scale_fraction", scale_fraction, 0.0, _BELOW_1)
    size = preprocess.image_size
    spreads = np.array([rotate_degrees, shift_fraction, shift_fraction, scale_fraction])
    moves = bool(spreads.any())

    def augment(image: Pixels, rng: np.random.Generator) -> ModelInput:
        if crop_area_min > 0:
            box = random_crop_box(image.shape[:2], rng, crop_area_min, crop_ratio_max)
            top, left, height, width = box
            image = to_channels(image[top : top + height, left : left + width], preprocess.channels)
            image = fast_resized(image, size, size, preprocess.interpolation)
        else:
            image = preprocess.fit(image)
        if flip_rate > 0 and rng.random() < flip_rate:
            image = image[:, ::-1]
        if pad_px > 0:
            image = pad_and_crop(image, rng, pad_px)
        if moves:
            degrees, down, right, growth = ((rng.random(4) * 2 - 1) * spreads).tolist()
            image = affine(image, degrees, (down * size, right * size), 1 + growth)
        if preprocess.change is not None:
            image = preprocess.change(image, rng)
        return preprocess.normalise(image)

    return augment


def alternating_flip(seed: int, epoch: int, num_examples: int) -> Bool[np.ndarray, " examples"]:
    """Which examples are flipped in an epoch: a random half in epoch 0, the others in the next.

    Each pair of epochs sees every example both ways (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds
    on a single GPU", section 3.6). Example i is flipped where (bit + epoch) is odd, the bit being
    the lowest one of its raw Philox word, which does not depend on the number of examples.
    """
    words = np.random.Philox(key=np.array([seed, _FLIP_STREAM], np.uint64)).random_raw(num_examples)
    return ((words & 1) + np.uint64(epoch)) % 2 == 1


def random_crop_box(
    shape: tuple[int, ...], rng: np.random.Generator, area_min: float, ratio_max: float
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random crop, as torchvision's RandomResizedCrop draws it.

    Its share of the area is uniform in [area_min, 1], the logarithm of its width / height uniform
    between those of 1 / ratio_max and ratio_max. Where ten tries do not fit, it is the largest
    centre crop within the ratios.
    """
    height, width = shape
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(area_min, 1.0)
        ratio = math.exp(rng.uniform(-math.log(ratio_max), math.log(ratio_max)))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height + 1))
            left = int(rng.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = min(width, round(height * ratio_max))
    crop_height = min(height, round(width * ratio_max))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def pad_and_crop(image: Pixels, rng: np.random.Generator, pad_px: int) -> Pixels:
    """The image moved by up to `pad_px` whole pixels each way, black where nothing was."""
    height, width, channels = image.shape
    padded = np.zeros((height + 2 * pad_px, width + 2 * pad_px, channels), np.uint8)
    padded[pad_px : pad_px + height, pad_px : pad_px + width] = image
    top, left = rng.integers(0, 2 * pad_px + 1, size=2)
    return padded[top : top + height, left : left + width]


def affine(image: Pixels, degrees: float, shift: tuple[float, float], scale: float) -> Pixels:
    """Turns and scales the image about its centre, then moves it; bilinear, black outside.

    Args:
        image: The image.
        degrees: Angle, counter-clockwise as seen.
        shift: How far it moves (down, right), in pixels.
        scale: Above 1 enlarges.
    """
    height, width = image.shape[:2]
    centre_x, centre_y = width / 2, height / 2
    cos, sin = (f(math.radians(degrees)) / scale for f in (math.cos, math.sin))
    # Pillow asks where each pixel of the result comes from, in (x, y) with y downward.
    start_x, start_y = -centre_x - shift[1], -centre_y - shift[0]
    matrix = (
        *(cos, -sin, cos * start_x - sin * start_y + centre_x),
        *(sin, cos, sin * start_x + cos * start_y + centre_y),
    )
    method, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return by_pillow(
        image, lambda picture: picture.transform((width, height), method, matrix, filter_)
    )


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
