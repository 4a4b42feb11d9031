"""Published recipes of random distortions: RandAugment, TrivialAugment, AutoAugment, AugMix, ...

Each is a function (image, generator) -> image of the same shape. Operations and ranges are
torchvision's, which also has the originals' strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnn.data import distort
from cnn.data.resize import Pixels
from cnn.data.transforms import Change

Op = tuple[Callable[[Pixels, float], Pixels], Callable[[float, int], float], bool]
"""The operation, its amount of (strength in [0, 1], side in pixels), whether the sign is drawn."""

_BINS = 31


def rand_augment(num_ops: int, magnitude: float, *, increasing: bool = True) -> Change:
    """RandAugment (Cubuk et al. 2020, "RandAugment: practical automated data augmentation").

    Args:
        num_ops: Operations in a row, each drawn from all with the same probability.
        magnitude: Strength of each; 30 is full, above it all but the geometry is `increasing=False`
            only. Papers count in two ways: torchvision's 9 is 9 here, and the 10 of the authors'
            TPU code and of big_vision is full, so that their 9 is 27 here.
        increasing: Every operation changes more as the magnitude grows, as torchvision has it and
            timm calls it; False is the original, where posterising, solarising and the colours
            are strongest at the lower end.
    """
    ops = _wide_ops(0.3, 150 / 331, 30.0, 0.9, 4)
    if not increasing:
        for name in ("brightness", "saturation", "contrast", "sharpness"):
            ops[name] = (ops[name][0], lambda strength, side: 1.8 * strength - 0.9, False)
        ops["posterize"] = (
            distort.posterize,
            lambda strength, side: float(int(4 * strength)),
            False,
        )
        ops["solarize"] = (distort.solarize, lambda strength, side: 256 * strength, False)
    table = list(ops.values())

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        for _ in range(num_ops):
            image = _apply(table[rng.integers(len(table))], image, magnitude / (_BINS - 1), rng)
        return image

    return change


def rand_augment_timm(num_ops: int, magnitude: float) -> Change:
    """RandAugment of DeiT, ConvNeXt and "ResNet strikes back": timm's `rand-mM-mstd0.5-inc1`.

    Each operation is left out half of the time, its strength is normal about the magnitude with a
    deviation of 0.5, and inverting and brightening dark levels are among them. Black comes in where
    timm has the mean colour.

    Args:
        num_ops: Operations in a row, each drawn from all with the same probability.
        magnitude: Mean strength of each, in [0, 10]; 9 in DeiT.
    """
    ops = _wide_ops(0.3, 0.45, 30.0, 0.9, 4)
    del ops["identity"]
    ops["posterize"] = (distort.posterize, lambda s, side: 4.0 - int(4 * s), False)
    ops["solarize"] = (distort.solarize, lambda s, side: 256.0 - int(256 * s), False)
    ops["solarize_add"] = (distort.solarize_add, lambda s, side: float(int(110 * s)), False)
    ops["invert"] = (distort.invert, _no_amount, False)
    table = list(ops.values())

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        for _ in range(num_ops):
            op = table[rng.integers(len(table))]
            strength = float(np.clip(rng.normal(magnitude, 0.5), 0, 10)) / 10
            if rng.random() < 0.5:
                image = _apply(op, image, strength, rng)
        return image

    return change


def trivial_augment_wide() -> Change:
    """One operation of random strength (Müller and Hutter 2021, "TrivialAugment", wide space)."""
    table = list(_wide_ops(0.99, None, 135.0, 0.99, 6).values())

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        op = table[rng.integers(len(table))]
        return _apply(op, image, float(rng.integers(_BINS)) / (_BINS - 1), rng)

    return change


def auto_augment() -> Change:
    """The policy found on ImageNet (Cubuk et al. 2019, "AutoAugment", table 9)."""
    ops = _wide_ops(0.3, 150 / 331, 30.0, 0.9, 4)
    ops["invert"] = (distort.invert, _no_amount, False)

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        for name, rate, level in IMAGENET_POLICY[rng.integers(len(IMAGENET_POLICY))]:
            if rng.random() < rate:
                image = _apply(ops[name], image, level / 9, rng)
        return image

    return change


def augmix(severity: int = 3, width: int = 3, alpha: float = 1.0) -> Change:
    """Chains of operations mixed with the picture (Hendrycks et al. 2020, "AugMix").

    Args:
        severity: Largest strength, in [1, 10].
        width: Chains, each of one to three operations.
        alpha: Of the Dirichlet and Beta distributions of the shares; above 0.
    """
    ops = _wide_ops(0.3, 1 / 3, 30.0, 0.9, 4)
    ops["posterize"] = (distort.posterize, lambda s, side: 4.0 - round(4 * s), False)
    table = list(ops.values())

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        kept = rng.beta(alpha, alpha)
        mixed = kept * image.astype(np.float32)
        for share in rng.dirichlet([alpha] * width):
            chain = image
            for _ in range(rng.integers(1, 4)):
                op = table[rng.integers(len(table))]
                chain = _apply(op, chain, float(rng.integers(severity)) / 9, rng)
            mixed += np.float32((1 - kept) * share) * chain
        return np.clip(mixed, 0, 255).astype(np.uint8)

    return change


def three_augment(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Gray, solarised or blurred, one of the three (Touvron et al. 2022, "DeiT III", section 3)."""
    which = rng.integers(3)
    if which == 0:
        return distort.grayscale(image)
    if which == 1:
        return distort.solarize(image, 128.0)
    return distort.gaussian_blur(image, rng.uniform(0.1, 2.0))


def color_jitter(strengths: Sequence[float]) -> Change:
    """Brightness, contrast, saturation and hue changed in random order, as torchvision does.

    Args:
        strengths: Of each the largest amount; a factor is uniform in [max(0, 1 - s), 1 + s], the
            turn of the hue in [-s, s]. 0 leaves it.
    """
    names = ("brightness", "contrast", "saturation", "hue")
    ops = [
        (getattr(distort, name), float(s)) for name, s in zip(names, strengths, strict=True) if s
    ]

    def change(image: Pixels, rng: np.random.Generator) -> Pixels:
        for index in rng.permutation(len(ops)):
            op, strength = ops[index]
            lowest = -strength if op is distort.hue else -min(strength, 1.0)
            image = op(image, rng.uniform(lowest, strength))
        return image

    return change


def random_erasing(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A box of 2 to 33 % of the area becomes noise (Zhong et al. 2020, "Random erasing", RE-R).

    The logarithm of height / width is uniform between those of 0.3 and 3.3; where ten tries do not
    fit, nothing is erased.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(0.02, 0.33)
        ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        box_height, box_width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < box_height < height and 0 < box_width < width:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            noise = rng.integers(0, 256, (box_height, box_width, image.shape[-1]), np.uint8)
            return distort.erase(image, (top, left, box_height, box_width), noise)
    return image


def cutout(image: Pixels, rng: np.random.Generator, size_px: int) -> Pixels:
    """A square of middle gray (level 128) about a random pixel, which the border may cut.

    Source: DeVries and Taylor 2017, "Improved regularization of CNNs with cutout".
    """
    top, left = (int(rng.integers(side)) - size_px // 2 for side in image.shape[:2])
    return distort.erase(image, (top, left, size_px, size_px), 128)


def _apply(op: Op, image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    function, amount_of, signed = op
    amount = amount_of(strength, 0)
    if function in (distort.translate_x, distort.translate_y):
        axis = 1 if function is distort.translate_x else 0
        amount = amount_of(strength, image.shape[axis])
    if signed and rng.random() < 0.5:
        amount = -amount
    return function(image, amount)


def _no_amount(strength: float, side: int) -> float:
    return 0.0


def _wide_ops(
    shear: float, translate: float | None, degrees: float, colours: float, bits: int
) -> dict[str, Op]:
    """The operations of torchvision; `translate` is a share of the side, None is 32 pixels."""

    def up_to(limit: float) -> Callable[[float, int], float]:
        return lambda strength, side: limit * strength

    def moved(strength: float, side: int) -> float:
        return strength * (32.0 if translate is None else translate * side)

    enhance = {
        name: (getattr(distort, name), up_to(colours), True)
        for name in ("brightness", "saturation", "contrast", "sharpness")
    }
    return {
        "identity": (distort.identity, _no_amount, False),
        "shear_x": (distort.shear_x, up_to(shear), True),
        "shear_y": (distort.shear_y, up_to(shear), True),
        "translate_x": (distort.translate_x, moved, True),
        "translate_y": (distort.translate_y, moved, True),
        "rotate": (distort.rotate, up_to(degrees), True),
        **enhance,
        "posterize": (distort.posterize, lambda s, side: 8.0 - round(bits * s), False),
        "solarize": (distort.solarize, lambda s, side: 255 * (1 - s), False),
        "autocontrast": (distort.autocontrast, _no_amount, False),
        "equalize": (distort.equalize, _no_amount, False),
    }


def _pairs(text: str) -> tuple[tuple[tuple[str, float, int], ...], ...]:
    rows = (line.split() for line in text.strip().splitlines())
    return tuple(((a, float(p), int(m)), (b, float(q), int(n))) for a, p, m, b, q, n in rows)


IMAGENET_POLICY = _pairs(
    """
    posterize 0.4 8 rotate 0.6 9
    solarize 0.6 5 autocontrast 0.6 0
    equalize 0.8 0 equalize 0.6 0
    posterize 0.6 7 posterize 0.6 6
    equalize 0.4 0 solarize 0.2 4
    equalize 0.4 0 rotate 0.8 8
    solarize 0.6 3 equalize 0.6 0
    posterize 0.8 5 equalize 1.0 0
    rotate 0.2 3 solarize 0.6 8
    equalize 0.6 0 posterize 0.4 6
    rotate 0.8 8 saturation 0.4 0
    rotate 0.4 9 equalize 0.6 0
    equalize 0.0 0 equalize 0.8 0
    invert 0.6 0 equalize 1.0 0
    saturation 0.6 4 contrast 1.0 8
    rotate 0.8 8 saturation 1.0 2
    saturation 0.8 8 solarize 0.8 7
    sharpness 0.4 7 invert 0.6 0
    shear_x 0.6 5 equalize 1.0 0
    saturation 0.4 0 equalize 0.6 0
    equalize 0.4 0 solarize 0.2 4
    solarize 0.6 5 autocontrast 0.6 0
    invert 0.6 0 equalize 1.0 0
    saturation 0.6 4 contrast 1.0 8
    equalize 0.8 0 equalize 0.6 0
    """
)
"""Pairs of (operation, its probability, its strength from 0 to 9), one of which is drawn."""
