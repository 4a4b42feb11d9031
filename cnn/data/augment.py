"""Random changes of training images, each a pure function of (image, random generator)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from cnn.data.borders import Borders
from cnn.data.contract import Example
from cnn.data.fast_resize import fast_resized
from cnn.data.geometry import Shape
from cnn.data.mosaic import Mosaic
from cnn.data.moves import Affine, Crop, Flip, Move, Resize, move, moved_mask
from cnn.data.resize import Pixels
from cnn.data.transforms import ModelInput, Preprocess, shorter_side, to_channels
from cnn.errors import UserError

_CROP_TRIES = 10
_BELOW_1 = math.nextafter(1.0, 0.0)
_FLIP_STREAM = 1 << 61
"""In the half of a Philox key that holds the epoch elsewhere, it parts flips from order."""


@dataclasses.dataclass(frozen=True)
class Augment:
    """(image of any size, generator) -> what the model sees in training.

    What is drawn is drawn once, from the shape alone, and can be applied to boxes and masks too:

        moves = augment.draw(image.shape[:2], rng)
        seen = augment.pixels(image, moves, rng)
        steps = geometry_of(image.shape[:2], moves)  # for map_boxes and map_mask

    The fields are the arguments of `make_augment`; `shorter_px` is that of `make_scale_jitter`;
    `borders` weighs the pixels of what it makes of masks, and None weighs none; `mosaic` is what
    it begins with, in the epochs that have mosaics, and None begins with a picture.
    """

    preprocess: Preprocess
    crop_area_min: float
    crop_ratio_max: float
    flip_rate: float
    pad_px: int
    rotate_degrees: float
    shift_fraction: float
    scale_fraction: float
    shorter_px: tuple[int, int] | None = None
    borders: Borders | None = None
    mosaic: Mosaic | None = None

    def __call__(
        self, image: Pixels, rng: np.random.Generator, *, flipped: bool = False
    ) -> ModelInput:
        """Draws and applies; `flipped` is that of `draw`."""
        return self.pixels(image, self.draw(image.shape[:2], rng, flipped=flipped), rng)

    def example(
        self, example: Example, rng: np.random.Generator, *, flipped: bool = False
    ) -> dict[str, Any]:
        """The same for the image of an example, with its mask and its objects moved along."""
        image = example["image"]
        moves = self.draw(image.shape[:2], rng, flipped=flipped)
        seen = {**example, "image": self.pixels(image, moves, rng)}
        if "mask" in example:
            seen["mask"] = moved_mask(example["mask"], moves)
            if self.borders is not None:
                seen["pixel_weight"] = self.borders(seen["mask"])
        if "boxes" in example:
            seen["boxes"], seen["box_labels"] = self.preprocess.boxes.moved(example, moves)
        if "proposals" in example:
            seen["proposals"] = self.preprocess.boxes.moved_proposals(example, moves)
        return seen

    def draw(
        self, shape: Shape, rng: np.random.Generator, *, flipped: bool = False
    ) -> tuple[Move, ...]:
        """The steps for an image of this shape.

        Args:
            shape: Height and width in pixels.
            rng: What is drawn depends on it and on the shape.
            flipped: A flip that does not depend on chance, beside those that do.
        """
        size = self.preprocess.image_size
        moves: list[Move] = []
        if self.crop_area_min > 0:
            box = random_crop_box(shape, rng, self.crop_area_min, self.crop_ratio_max)
            resize = Resize(size, size, self.preprocess.interpolation, fast_resized)
            moves += [Crop(*box), resize]
        elif self.shorter_px is not None:
            moves += self._jittered(shape, rng, self.shorter_px)
        else:
            moves += self.preprocess.moves(shape)
        if (self.flip_rate > 0 and rng.random() < self.flip_rate) != flipped:
            moves.append(Flip())
        if self.pad_px > 0:
            top, left = rng.integers(0, 2 * self.pad_px + 1, size=2).tolist()
            moves.append(Crop(top - self.pad_px, left - self.pad_px, size, size))
        spreads = (self.rotate_degrees, self.shift_fraction, self.shift_fraction)
        if any(spreads) or self.scale_fraction:
            spread = np.array([*spreads, self.scale_fraction])
            degrees, down, right, growth = ((rng.random(4) * 2 - 1) * spread).tolist()
            moves.append(Affine(degrees, (down * size, right * size), 1 + growth))
        return tuple(moves)

    def pixels(
        self, image: Pixels, moves: tuple[Move, ...], rng: np.random.Generator
    ) -> ModelInput:
        """The image after these steps and what changes colours and parts, normalised."""
        image = move(to_channels(image, self.preprocess.channels), moves)
        if self.preprocess.change is not None:
            image = self.preprocess.change(image, rng)
        return self.preprocess.normalise(image)

    def _jittered(
        self, shape: Shape, rng: np.random.Generator, shorter_px: tuple[int, int]
    ) -> list[Move]:
        size = self.preprocess.image_size
        shorter = int(rng.integers(shorter_px[0], shorter_px[1] + 1))
        height, width = shorter_side(*shape, shorter)
        top, left = (int(rng.integers(side - size + 1)) for side in (height, width))
        resize = Resize(height, width, self.preprocess.interpolation, fast_resized)
        return [resize, Crop(top, left, size, size)]

    def at_size(self, size_px: int) -> Augment:
        """The same, but the model sees images of another side."""
        _check_jitter(self.shorter_px, size_px)
        preprocess = self.preprocess.changed(image_size=size_px)
        kept = {"change": self.preprocess.change, "boxes": self.preprocess.boxes}
        preprocess = preprocess._replace(**kept)
        mosaic = self.mosaic and self.mosaic._replace(image_size=size_px)
        return dataclasses.replace(self, preprocess=preprocess, mosaic=mosaic)


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
) -> Augment:
    """The transform of training: these in their order, `preprocess.change`, then normalised.

    Args:
        preprocess: Brings the image to its size (unless a random crop does) and normalises it.
        crop_area_min: A random crop, resized to the model's size, takes at least this share of the
            area, in (0, 1]: Inception's distorted crop and torchvision's RandomResizedCrop, where
            it is 0.08 (0.05 in Inception's code). 0 is off: the image is fitted as in evaluation.
        crop_ratio_max: Largest width / height of that crop, at least 1; the smallest is 1 / this.
        flip_rate: Probability of a left-right flip, in [0, 1].
        pad_px: The image is padded with this many black pixels on each side and cropped back at
            random (4 is usual for CIFAR-10); 0 is off.
        rotate_degrees: Turned by an angle uniform in plus or minus this.
        shift_fraction: Moved in both directions by a share of the side uniform in plus or minus
            this, in [0, 1).
        scale_fraction: Enlarged by a factor uniform in 1 plus or minus this, in [0, 1).

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
    return Augment(
        preprocess,
        crop_area_min,
        crop_ratio_max,
        flip_rate,
        pad_px,
        rotate_degrees,
        shift_fraction,
        scale_fraction,
    )


def make_scale_jitter(augment: Augment, *, shorter_px: Sequence[int] = ()) -> Augment:
    """Training images of random size, of which a random crop is seen at its scale.

    That is how AlexNet (256 to 256), VGG (256 to 512) and ResNet (256 to 480) were trained, before
    crops of random area and shape, which exclude it.

    Args:
        augment: Without crops of random area.
        shorter_px: Smallest and largest length of the shorter side, in pixels, both included, at
            least that of the crop; () is off.

    Raises:
        UserError: If these are no such two numbers, or crops have random areas already.
    """
    if not len(shorter_px):
        return augment
    if len(shorter_px) != 2 or not shorter_px[0] <= shorter_px[1]:
        raise UserError(
            "scale_jitter.shorter_px takes the smallest and the largest length in pixels, as "
            f"(256, 480); got {tuple(shorter_px)}"
        )
    if augment.crop_area_min:
        raise UserError(
            f"augment.crop_area_min={augment.crop_area_min:g} and scale_jitter.shorter_px both cut "
            "training images; set one of them to 0 or ()"
        )
    low, high = shorter_px
    _check_jitter((low, high), augment.preprocess.image_size)
    return dataclasses.replace(augment, shorter_px=(low, high))


def make_mosaic(augment: Augment, *, rate: float = 0.0, until_epoch: int = 0) -> Augment:
    """The augmentation of pictures with boxes that begins with a mosaic of four of them.

    The mosaic has twice the side, and goes through all other steps as a picture of that size does:
    `augment.crop_area_min` takes a part of it. Of more objects than `boxes.max_boxes` the largest
    stay.

    Args:
        augment: Without it.
        rate: Probability of a mosaic in place of a picture, in [0, 1]; 0 is off.
        until_epoch: From this epoch on, counted from 0, there are none, so that the last epochs see
            whole pictures (Ge et al. 2021, "YOLOX", section 2.1); 0 means always.

    Raises:
        UserError: If a value is out of its range.
    """
    if not 0 <= rate <= 1 or until_epoch < 0:
        raise UserError(
            "mosaic.rate must be between 0 and 1 and mosaic.until_epoch at least 0, got "
            f"{rate:g} and {until_epoch}"
        )
    if not rate:
        return augment
    seen = augment.preprocess
    sizes = seen.image_size, seen.channels
    made = Mosaic(rate, until_epoch, *sizes, seen.interpolation, seen.boxes)
    return dataclasses.replace(augment, mosaic=made)


def _check_jitter(shorter_px: tuple[int, int] | None, image_size: int) -> None:
    if shorter_px is not None and shorter_px[0] < image_size:
        raise UserError(
            f"scale_jitter.shorter_px starts at {shorter_px[0]}, but the crops are of "
            f"{image_size} pixels; start there or above"
        )


def make_borders(augment: Augment, *, weight: float = 0.0, sigma_px: float = 5.0) -> Augment:
    """The augmentation that also weighs the pixels of masks: see `cnn.data.borders`.

    Args:
        augment: Without it.
        weight: What a gap of no width between two objects adds to the weight 1 of its pixels; 10 in
            U-Net's paper. 0 weighs no pixel.
        sigma_px: How fast that falls with the width of the gap, in pixels; 5 in the paper.

    Raises:
        UserError: If the weight is negative, or the width not above 0.
    """
    if not weight >= 0 or not sigma_px > 0:
        raise UserError(
            f"borders.weight must be at least 0 and borders.sigma_px above 0, got {weight} and "
            f"{sigma_px}"
        )
    return dataclasses.replace(augment, borders=Borders(weight, sigma_px)) if weight else augment


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


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
