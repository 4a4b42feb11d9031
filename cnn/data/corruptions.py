"""The fifteen corruptions of ImageNet-C in five severities, made from pictures on the fly.

Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", section 3 and the authors' program, whose constants are taken. They are for pictures
of 224 pixels; at another size all lengths in pixels are scaled by it. (CIFAR-10-C has constants of
its own, which these are not.)

Differs from the published files: what is random is drawn anew, frost is drawn instead of
photographed (`cnn.data.weather.frost`), and the result is not stored as JPEG of quality 85. So
accuracies are near those on the files, and not them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from cnn.data.blurs import Levels, defocus_blur, glass_blur, motion_blur, zoom_blur
from cnn.data.contract import Derived, Example, Source, SourceInfo
from cnn.data.resize import Pixels, by_pillow, resized
from cnn.data.weather import fog, frost, snow

PAPER_SIZE = 224
SEVERITIES = (1, 2, 3, 4, 5)
_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
_SHOT = (60, 25, 12, 5, 3)
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
# Of 244, not 224: the authors' number.
_ELASTIC = ((488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88))
_ELASTIC = (*_ELASTIC, (29.28, 2.44, 4.88))
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
_JPEG = (25, 18, 15, 10, 7)


def gaussian_noise(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """With normal noise in each pixel and channel."""
    del scale
    return x + rng.normal(0, _GAUSSIAN[severity - 1], x.shape)


def shot_noise(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """As if counted in few photons."""
    del scale
    photons = _SHOT[severity - 1]
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """A share of all values are black or white, as many of each."""
    del scale
    drawn = rng.uniform(size=x.shape)
    share = _IMPULSE[severity - 1]
    return np.where(drawn < share, np.where(drawn < share / 2, 0.0, 1.0), x)


def brightness(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Brighter by a constant, hue and saturation kept: the value of HSV."""
    del scale, rng
    value = x.max(axis=-1, keepdims=True)
    brighter = np.clip(value + _BRIGHTNESS[severity - 1], 0, 1)
    # Black has no hue, so it becomes gray.
    return np.where(value > 0, x * brighter / np.maximum(value, 1e-9), brighter)


def contrast(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Nearer to the mean of its channel."""
    del scale, rng
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * _CONTRAST[severity - 1] + mean


def elastic_transform(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Sheared by three points that move, then bent by a smooth random field."""
    strength, sigma, reach = _ELASTIC[severity - 1]
    # Smoothed noise is as strong as it is smoothed over few pixels, hence the second factor.
    strength, sigma, reach = strength * scale**2, sigma * scale, reach * scale
    size = len(x)
    middle, side = size // 2, size // 3
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * side + middle
    moved = corners + rng.uniform(-reach, reach, corners.shape)
    # Backwards, from the result to where it comes from.
    ones = np.ones((3, 1))
    matrix = np.linalg.solve(np.hstack([moved, ones]), corners)
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    from_x, from_y = np.moveaxis(np.stack([across, down, np.ones_like(down)], -1) @ matrix, -1, 0)
    x = _sampled(x, from_y, from_x, "mirror")
    fields = rng.uniform(-1, 1, (2, size, size))
    bend = [ndimage.gaussian_filter(f, sigma, mode="reflect", truncate=3) for f in fields]
    return _sampled(x, down + strength * bend[1], across + strength * bend[0], "reflect")


def pixelate(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Of a smaller number of larger pixels."""
    del scale, rng
    size = len(x)
    side = max(1, int(size * _PIXELATE[severity - 1]))
    return resized(resized(_to_pixels(x), side, side, "box"), size, size, "box") / 255


def jpeg_compression(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Stored as JPEG of low quality."""
    del scale, rng

    def compressed(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=_JPEG[severity - 1])
        return Image.open(buffer)

    return by_pillow(_to_pixels(x), compressed) / 255


CORRUPTIONS: dict[str, Callable[[Levels, int, float, np.random.Generator], Levels]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
"""In the paper's order, by the names of its folders."""


def corrupted(image: Pixels, name: str, severity: int, rng: np.random.Generator) -> Pixels:
    """A square picture after one corruption.

    Args:
        image: As the model would see it, before it is normalised.
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        rng: What draws; the same draws the same.
    """
    levels = image.astype(np.float64) / 255
    return _to_pixels(CORRUPTIONS[name](levels, severity, len(image) / PAPER_SIZE, rng))


class Corrupted(Derived):
    """Another source with its images fitted for the model, then corrupted.

    What is random depends on the example's index, the corruption and its severity alone.
    """

    def __init__(
        self, source: Source, fit: Callable[[Pixels], Pixels], name: str, severity: int
    ) -> None:
        super().__init__(source)
        self._fit = fit
        self._name = name
        self._severity = severity

    @property
    def info(self) -> SourceInfo:
        """That of the other source, with the corruption in its name."""
        info = self._source.info
        return info._replace(name=f"{info.name} {self._name} {self._severity}")

    def __getitem__(self, index: int, /) -> Example:
        example = self._source[index]
        rng = np.random.default_rng([index, zlib.crc32(self._name.encode()), self._severity])
        image = corrupted(self._fit(example["image"]), self._name, self._severity, rng)
        return {**example, "image": image}


def _sampled(x: Levels, rows: np.ndarray, columns: np.ndarray, mode: str) -> Levels:
    """The picture's values at fractions of pixels, bilinear."""
    planes = [
        ndimage.map_coordinates(x[:, :, channel], [rows, columns], order=1, mode=mode)
        for channel in range(x.shape[-1])
    ]
    return np.stack(planes, axis=-1)


def _to_pixels(x: Levels) -> Pixels:
    # A thousandth of a level, so that whole levels stay themselves.
    return (np.clip(x, 0, 1) * 255 + 1e-3).astype(np.uint8)
