"""Images of any size -> what a model sees: resized, cropped, gray or RGB, normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from cnn.errors import UserError, unknown

Pixels = UInt8[np.ndarray, "height width channels"]
Resized = UInt8[np.ndarray, "new_height new_width channels"]
Fitted = UInt8[np.ndarray, "size size model_channels"]
ModelInput = Float32[np.ndarray, "size size model_channels"]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters; all but "nearest" widen with the scale, so that shrinking does not alias."""

_RESIZES = ("shorter", "stretch")


class Preprocess(NamedTuple):
    """What is done to an image for evaluation and prediction; augmentation uses its parts.

    Attributes:
        image_size: Side of the result, in pixels.
        channels: Channels of the result.
        interpolation: A key of `INTERPOLATIONS`.
        fit: An image of any size and channels -> uint8 of the result's shape.
        normalise: The result's pixels in [0, 255] -> float32.
        change: A random change of the result's pixels in training, of (image, generator); None
            where there is none. Evaluation and prediction never call it.
    """

    image_size: int
    channels: int
    interpolation: str
    fit: Callable[[Pixels], Fitted]
    normalise: Callable[[Fitted], ModelInput]
    change: Callable[[Fitted, np.random.Generator], Fitted] | None = None

    def __call__(self, image: Pixels) -> ModelInput:
        """The image, fitted and normalised."""
        return self.normalise(self.fit(image))


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
            ratio; "stretch" brings both sides there.
        crop_fraction: Side of the centre crop as a share of the resized image, in (0, 1]: 0.875 is
            the crop of 224 from 256.
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
    resized_size = round(image_size / crop_fraction)

    def fit(image: Pixels) -> Fitted:
        height, width = resized_size, resized_size
        if resize == "shorter":
            height, width = shorter_side(image.shape[0], image.shape[1], resized_size)
        image = to_channels(image, channels)
        return centre_crop(resized(image, height, width, interpolation), image_size)

    return Preprocess(
        image_size, channels, interpolation, fit, _make_normalise(image_size, channels, mean, std)
    )


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


def resized(image: Pixels, height: int, width: int, interpolation: str) -> Resized:
    """The image at another size, by Pillow's `resize` (antialiased)."""
    if image.shape[:2] == (height, width):
        return image
    method = INTERPOLATIONS[interpolation]
    return by_pillow(image, lambda picture: picture.resize((width, height), method))


def shorter_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the shorter side `size`, the other rounded down as by torchvision."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def centre_crop(image: Pixels, size: int) -> UInt8[np.ndarray, "size size channels"]:
    """The square in the middle; where it cannot be, half a pixel off as torchvision's is."""
    top, left = (round((side - size) / 2.0) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def by_pillow(image: Pixels, operate: Callable[[Image.Image], Image.Image]) -> Resized:
    """Applies a Pillow operation to an image of any number of channels."""
    if image.shape[-1] == 3:
        return np.asarray(operate(Image.fromarray(image)))
    planes = (Image.fromarray(image[:, :, i]) for i in range(image.shape[-1]))
    if image.shape[-1] == 1:
        return np.asarray(operate(next(planes)))[:, :, None]
    return np.stack([np.asarray(operate(plane)) for plane in planes], axis=-1)


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
