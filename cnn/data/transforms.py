"""Images of any size -> what a model sees: resized, cropped, gray or RGB, normalised."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from cnn.data.boxes import BoxRules, seen_px
from cnn.data.contract import Example
from cnn.data.geometry import Shape
from cnn.data.moves import Crop, Move, Resize, move, moved_mask
from cnn.data.resize import INTERPOLATIONS, Pixels, resized
from cnn.errors import UserError, unknown

Fitted = UInt8[np.ndarray, "size size model_channels"]
Change = Callable[[Pixels, np.random.Generator], Pixels]
ModelInput = Float32[np.ndarray, "size size model_channels"]

_RESIZES = ("shorter", "stretch", "letterbox")


class Changes(NamedTuple):
    """Random changes of a training image in place: first of its colours, then of parts of it."""

    colours: tuple[Change, ...]
    parts: tuple[Change, ...]

    def __call__(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """The image after all of them."""
        for each in (*self.colours, *self.parts):
            image = each(image, rng)
        return image


NO_CHANGES = Changes((), ())


class Preprocess(NamedTuple):
    """What is done to an image for evaluation and prediction; augmentation uses its parts.

    Attributes:
        image_size: Side of the result, in pixels.
        channels: Channels of the result.
        interpolation: A key of `INTERPOLATIONS`.
        frame_size: Side of the square that the result is the middle of, in pixels.
        moves: (height, width) of an image -> the steps that `fit` takes, for its boxes and masks.
        normalise: The result's pixels in [0, 255] -> float32.
        changed: The same with other values of `make_preprocess`, which are given by name.
        change: What changes the result's pixels at random in training; None where nothing does.
            Evaluation and prediction never call it.
        boxes: What becomes of boxes.
    """

    image_size: int
    channels: int
    interpolation: str
    frame_size: int
    moves: Callable[[Shape], tuple[Move, ...]]
    normalise: Callable[[Fitted], ModelInput]
    changed: Callable[..., Preprocess]
    change: Changes | None = None
    boxes: BoxRules = BoxRules()

    def __call__(self, image: Pixels) -> ModelInput:
        """The image, fitted and normalised."""
        return self.normalise(self.fit(image))

    def example(self, example: Example) -> dict[str, Any]:
        """As `fitted`, with the image normalised; where there are boxes, with its `seen_px`."""
        fitted = self.fitted(example)
        seen = {**fitted, "image": self.normalise(fitted["image"])}
        if "boxes" in example:
            shape = example["image"].shape[:2]
            seen["seen_px"] = seen_px(shape, self.moves(shape))
        return seen

    def fitted(self, example: Example) -> Example:
        """An example with its image fitted, and its mask and its objects where that went."""
        image = example["image"]
        fitted: Example = {**example, "image": self.fit(image)}
        moves = self.moves(image.shape[:2])
        if "mask" in example:
            fitted["mask"] = moved_mask(example["mask"], moves)
        if "boxes" in example:
            fitted["boxes"], fitted["box_labels"] = self.boxes.moved(example, moves)
        if "proposals" in example:
            fitted["proposals"] = self.boxes.moved_proposals(example, moves)
        return fitted

    def fit(self, image: Pixels) -> Fitted:
        """An image of any size and channels -> uint8 of the result's shape."""
        return move(to_channels(image, self.channels), self.moves(image.shape[:2]))


def make_preprocess(
    *,
    image_size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    resize: str = "shorter",
    crop_fraction: float = 1.0,
    interpolation: str = "bilinear",
) -> Preprocess:
    """The transform of evaluation and prediction: resize, centre crop, normalise.

    Args:
        image_size: Side of the square that the model sees, in pixels.
        channels: 1 makes colours gray (ITU-R 601 luma), 3 repeats gray; any other number takes only
            images that have it.
        mean: Of each channel, or one for all, of pixels scaled to [0, 1].
        std: As `mean`; above 0.
        resize: "shorter" brings the shorter side to image_size / crop_fraction and keeps the aspect
            ratio; "stretch" brings both sides there; "letterbox" brings the longer side to
            image_size and fills the rest with the mean, so that all of the image is seen.
        crop_fraction: Side of the centre crop as a share of the resized image, in (0, 1]: 0.875 is
            the crop of 224 from 256. It must be 1 for "letterbox".
        interpolation: A key of `INTERPOLATIONS`.

    Raises:
        UserError: If a value is out of its range; from the transform: if an image has channels that
            cannot become `channels`.
    """
    if resize not in _RESIZES:
        raise unknown("resize", resize, _RESIZES)
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)
    if image_size < 1 or channels < 1:
        raise UserError(
            f"no image of {image_size} pixels with {channels} channels; both are 1 or more"
        )
    if not 0 < crop_fraction <= 1:
        raise UserError(f"crop_fraction must be above 0 and at most 1, got {crop_fraction}")
    if resize == "letterbox" and crop_fraction != 1:
        raise UserError(
            f"letterbox shows the whole image, so crop_fraction must be 1, got {crop_fraction}"
        )
    normalise = _make_normalise(image_size, channels, mean, std)
    frame_size = round(image_size / crop_fraction)
    fill = tuple(min(max(round(255 * value), 0), 255) for value in mean)

    def moves(shape: Shape) -> tuple[Move, ...]:
        if shape == (frame_size, frame_size) == (image_size, image_size):
            # Small images come in their size; two idle steps would be a fifth of the time.
            return ()
        height, width = frame_size, frame_size
        if resize == "shorter":
            height, width = shorter_side(*shape, frame_size)
        elif resize == "letterbox":
            height, width = longer_side(*shape, frame_size)
        # Where the middle cannot be, half a pixel off as torchvision's is.
        top, left = (round((side - image_size) / 2.0) for side in (height, width))
        crop = Crop(top, left, image_size, image_size, fill)
        return Resize(height, width, interpolation, resized), crop

    changed = functools.partial(
        make_preprocess,
        image_size=image_size,
        channels=channels,
        mean=mean,
        std=std,
        resize=resize,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
    )
    return Preprocess(image_size, channels, interpolation, frame_size, moves, normalise, changed)


def make_boxes(
    preprocess: Preprocess,
    *,
    max_boxes: int = 100,
    min_visible: float = 0.25,
    max_proposals: int = 2000,
) -> Preprocess:
    """The transform with rules for the boxes of objects, where pictures have them.

    Args:
        preprocess: Without them.
        max_boxes: Room for so many objects of a picture, at least 1; a picture with more is an
            error. What is learnt does not depend on it, time and memory do. COCO's pictures have up
            to 93.
        min_visible: An object of which the image shows a smaller share is left out, in training and
            evaluation, in [0, 1]; so is a proposal.
        max_proposals: Room for so many proposals of a picture, at least 1; of more the surest stay.

    Raises:
        UserError: If a value is out of its range.
    """
    if max_boxes < 1:
        raise UserError(f"boxes.max_boxes must be at least 1, got {max_boxes}")
    if max_proposals < 1:
        raise UserError(f"boxes.max_proposals must be at least 1, got {max_proposals}")
    if not 0 <= min_visible <= 1:
        raise UserError(f"boxes.min_visible must be between 0 and 1, got {min_visible}")
    return preprocess._replace(boxes=BoxRules(max_boxes, min_visible, max_proposals))


def to_channels(image: Pixels, channels: int) -> UInt8[np.ndarray, "height width new_channels"]:
    """Gray to RGB by repetition, RGB to gray by ITU-R 601 luma, the rest unchanged.

    Raises:
        UserError: If the image has neither `channels` nor a conversion to them.
    """
    got = image.shape[-1]
    if got == channels:
        return image
    if got == 1 and channels == 3:
        return np.repeat(image, 3, axis=-1)
    if got == 3 and channels == 1:
        return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    raise UserError(
        f"an image of {got} channels cannot become one of {channels}; set channels={got}"
    )


def shorter_side(height: int, width: int, size: int) -> Shape:
    """(height, width) with the shorter side `size`, the other rounded down as by torchvision."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def longer_side(height: int, width: int, size: int) -> Shape:
    """(height, width) with the longer side `size`, the other rounded, at least one pixel."""
    if height >= width:
        return size, max(1, round(size * width / height))
    return max(1, round(size * height / width)), size


def _make_normalise(
    image_size: int, channels: int, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Fitted], ModelInput]:
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise UserError(
                f"{name} has {len(values)} values for {channels} channels; give 1 or {channels}"
            )
    if min(std) <= 0:
        raise UserError(f"std must be above 0, got {tuple(std)}")
    shape = (image_size, image_size, channels)
    # A row of pixels at once: broadcasting over a last axis of 3 is several times slower.
    stds = np.tile(np.broadcast_to(np.asarray(std, np.float64), channels), image_size)
    means = np.tile(np.broadcast_to(np.asarray(mean, np.float64), channels), image_size)
    scale, offset = (1 / (255 * stds)).astype(np.float32), (-means / stds).astype(np.float32)

    def normalise(image: Fitted) -> ModelInput:
        rows = image.reshape(image_size, image_size * channels) * scale
        rows += offset
        return rows.reshape(shape)

    return normalise
