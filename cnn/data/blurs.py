"""The blurs of ImageNet-C: out of focus, through frosted glass, in motion, while zooming.

Pictures are floats in [0, 1], square. `scale` is their side over the 224 pixels that the paper's
constants are of; lengths in pixels are multiplied by it. See `cnn.data.corruptions`.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal

Levels = Float[np.ndarray, "size size channels"]
Plane = Float[np.ndarray, "height width"]

_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
_GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))


def defocus_blur(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Averaged over a disk whose edge is smoothed a little."""
    del rng
    radius, smoothing = _DEFOCUS[severity - 1]
    radius *= scale
    if radius < 1:
        # A disk within one pixel would change nothing.
        smoothing = max(smoothing, radius)
    reach = math.ceil(radius) + 2
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2).astype(float)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), smoothing, truncate=2.0)
    # A picture smaller than the kernel is mirrored more than once.
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return signal.fftconvolve(padded, kernel[:, :, None], mode="valid", axes=(0, 1))


def glass_blur(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Smoothed, each pixel taken from a neighbour one after another, and smoothed again.

    As the authors' program does it: what is written there as a swap of two pixels is a copy.
    """
    sigma, reach, rounds = _GLASS[severity - 1]
    reach = max(1, round(reach * scale))
    x = _smooth(x, sigma * scale)
    height, width, channels = x.shape
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    # Plain integers: a step depends on those before it, and arrays are slow one by one.
    places = list(range(height * width))
    for _ in range(rounds):
        moves = rng.integers(-reach, reach, (len(rows), len(columns), 2))
        steps = (moves[:, :, 0] * width + moves[:, :, 1]).tolist()
        for row, along in zip(rows, steps, strict=True):
            for column, step in zip(columns, along, strict=True):
                place = row * width + column
                places[place] = places[place + step]
    shuffled = x.reshape(-1, channels)[places].reshape(x.shape)
    return _smooth(shuffled, sigma * scale)


def motion_blur(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Smeared along a line within 45 degrees of the horizontal, to one side."""
    radius, sigma = _MOTION[severity - 1]
    return smear(x, radius * scale, sigma * scale, rng.uniform(-45, 45))


def zoom_blur(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """The mean of the picture and of enlargements of its middle."""
    del scale, rng
    stop, step = _ZOOM[severity - 1]
    factors = np.arange(1, stop, step)
    total = x + sum(enlarged(x, factor) for factor in factors)
    return total / (len(factors) + 1)


def smear(x: Levels, radius: float, sigma: float, degrees: float) -> Levels:
    """Averaged along a line from each pixel, by the right half of a Gaussian.

    ImageMagick's motion blur, which the authors used: whole pixels, the border repeated.

    Args:
        x: The picture.
        radius: Half of the line's length, in pixels.
        sigma: Of the Gaussian, in pixels.
        degrees: Of the line, clockwise from the right.
    """
    count = 2 * math.ceil(radius) + 1
    shares = np.exp(-((np.arange(count) / max(sigma, 1e-3)) ** 2) / 2)
    shares /= shares.sum()
    angle = math.radians(degrees)
    down = np.ceil(np.arange(count) * math.sin(angle) - 0.5).astype(int)
    right = np.ceil(np.arange(count) * math.cos(angle) - 0.5).astype(int)
    height, width = x.shape[:2]
    padded = np.pad(x, ((count, count), (count, count), (0, 0)), mode="edge")
    total = np.zeros_like(x)
    for share, y, z in zip(shares, down + count, right + count, strict=True):
        total += share * padded[y : y + height, z : z + width]
    return total


def enlarged(x: Levels, factor: float) -> Levels:
    """The middle of the picture, `factor` times as large, in the picture's size; bilinear."""
    size = len(x)
    part = min(size, math.ceil(size / factor))
    whole = max(size, round(part * factor))
    places = np.arange(size) + (whole - size) // 2
    places = (size - part) // 2 + places * ((part - 1) / max(whole - 1, 1))
    low = np.minimum(places.astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = (places - low)[:, None, None]
    x = x[low] * (1 - share) + x[high] * share
    share = (places - low)[None, :, None]
    return x[:, low] * (1 - share) + x[:, high] * share


def _smooth(x: Levels, sigma: float) -> Levels:
    """By a Gaussian, the border repeated; in whole levels, as the authors' arrays had them."""
    smooth = ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
    return np.floor(smooth * 255) / 255
