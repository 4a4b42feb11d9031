"""Single changes of a picture by a given amount, as AutoAugment and its kin compose them.

Each is a function of (image, amount) on uint8 gray or RGB pictures, and means what the Pillow
operation means that it calls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cnn.data.resize import Pixels, by_pillow

Patch = UInt8[np.ndarray, "patch_height patch_width channels"]


def shear_x(image: Pixels, amount: float) -> Pixels:
    """Row y moves left by `amount` times y, about the upper left corner; black comes in."""
    return _affine(image, (1.0, amount, 0.0, 0.0, 1.0, 0.0))


def shear_y(image: Pixels, amount: float) -> Pixels:
    """Column x moves up by `amount` times x; black comes in."""
    return _affine(image, (1.0, 0.0, 0.0, amount, 1.0, 0.0))


def translate_x(image: Pixels, amount: float) -> Pixels:
    """Everything moves left by the whole part of `amount` pixels; black comes in."""
    return _affine(image, (1.0, 0.0, float(int(amount)), 0.0, 1.0, 0.0))


def translate_y(image: Pixels, amount: float) -> Pixels:
    """Everything moves up by the whole part of `amount` pixels; black comes in."""
    return _affine(image, (1.0, 0.0, 0.0, 0.0, 1.0, float(int(amount))))


def rotate(image: Pixels, amount: float) -> Pixels:
    """Turned about the middle by `amount` degrees, counter-clockwise, to the nearest pixel."""
    return by_pillow(image, lambda picture: picture.rotate(amount))


def brightness(image: Pixels, amount: float) -> Pixels:
    """Pixels times 1 + `amount`: -1 is black, 0 changes nothing."""
    return _colours(image, lambda picture: ImageEnhance.Brightness(picture).enhance(1 + amount))


def saturation(image: Pixels, amount: float) -> Pixels:
    """Distance from gray times 1 + `amount`: -1 is gray; gray pictures stay as they are."""
    if image.shape[-1] != 3:
        return image
    return _colours(image, lambda picture: ImageEnhance.Color(picture).enhance(1 + amount))


def contrast(image: Pixels, amount: float) -> Pixels:
    """Distance from the mean luma times 1 + `amount`: -1 is one level of gray."""
    return _colours(image, lambda picture: ImageEnhance.Contrast(picture).enhance(1 + amount))


def sharpness(image: Pixels, amount: float) -> Pixels:
    """Distance from a smoothed picture times 1 + `amount`: -1 is smooth, above 0 sharpens."""
    return _colours(image, lambda picture: ImageEnhance.Sharpness(picture).enhance(1 + amount))


def hue(image: Pixels, amount: float) -> Pixels:
    """The hue goes round by `amount` of the circle, in [-0.5, 0.5]; gray stays as it is."""
    if image.shape[-1] != 3:
        return image
    turned = np.array(Image.fromarray(image).convert("HSV"))
    turned[:, :, 0] += np.uint8(int(amount * 255) % 256)
    return np.asarray(Image.fromarray(turned, "HSV").convert("RGB"))


def posterize(image: Pixels, amount: float) -> Pixels:
    """Keeps the upper `amount` bits, a whole number from 0 to 8."""
    return image & np.uint8(256 - 2 ** (8 - int(amount)))


def solarize(image: Pixels, amount: float) -> Pixels:
    """Levels from `amount` on are inverted: 256 changes nothing, 0 inverts all."""
    return np.where(image < amount, image, 255 - image)


def solarize_add(image: Pixels, amount: float) -> Pixels:
    """Levels below 128 rise by `amount`, a whole number from 0 to 127."""
    return np.where(image < 128, image + np.uint8(amount), image)


def invert(image: Pixels, amount: float = 0.0) -> Pixels:
    """The negative; the amount is ignored."""
    del amount
    return 255 - image


def autocontrast(image: Pixels, amount: float = 0.0) -> Pixels:
    """Each channel is spread to [0, 255]; the amount is ignored."""
    del amount
    return _colours(image, ImageOps.autocontrast)


def equalize(image: Pixels, amount: float = 0.0) -> Pixels:
    """Each channel's histogram is made flat; the amount is ignored."""
    del amount
    return _colours(image, ImageOps.equalize)


def identity(image: Pixels, amount: float = 0.0) -> Pixels:
    """The same; the amount is ignored."""
    del amount
    return image


def add_colour(image: Pixels, amounts: tuple[float, float, float]) -> Pixels:
    """All pixels of an RGB picture move by these levels, cut to [0, 255]; gray stays as it is."""
    if image.shape[-1] != 3:
        return image
    moved = image + np.asarray(amounts, np.float32).reshape(1, 1, 3)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def grayscale(image: Pixels) -> Pixels:
    """ITU-R 601 luma in every channel; gray pictures stay as they are."""
    if image.shape[-1] != 3:
        return image
    return np.repeat(np.asarray(Image.fromarray(image).convert("L"))[:, :, None], 3, axis=-1)


def gaussian_blur(image: Pixels, sigma: float) -> Pixels:
    """Smoothed by Pillow's approximation of a Gaussian of this standard deviation in pixels."""
    return _colours(image, lambda picture: picture.filter(ImageFilter.GaussianBlur(sigma)))


def erase(image: Pixels, box: tuple[int, int, int, int], fill: Patch | int) -> Pixels:
    """The box (top, left, height, width), clipped to the picture, replaced by `fill`."""
    top, left, height, width = box
    rows = slice(max(top, 0), max(top + height, 0))
    columns = slice(max(left, 0), max(left + width, 0))
    result = image.copy()
    result[rows, columns] = fill
    return result


def _affine(image: Pixels, matrix: tuple[float, ...]) -> Pixels:
    size = image.shape[1], image.shape[0]
    method = Image.Transform.AFFINE
    return by_pillow(image, lambda picture: picture.transform(size, method, matrix))


def _colours(image: Pixels, operate: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Pillow's operations on colours know gray and RGB; of other channels, each by itself."""
    return by_pillow(image, operate)
