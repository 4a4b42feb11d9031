"""The weather of ImageNet-C: snow, frost and fog, drawn at random for each picture.

Pictures are floats in [0, 1], square; `scale` as in `cnn.data.blurs`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from cnn.data.blurs import Levels, enlarged, smear

_SNOW = (
    (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
_FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
_LUMA = np.array([0.299, 0.587, 0.114])
_ICE = np.array([0.82, 0.93, 1.0])


def snow(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Smeared flakes from two sides over a picture that is whitened."""
    mean, std, zoom, threshold, radius, sigma, keep = _SNOW[severity - 1]
    flakes = rng.normal(mean, std, (*x.shape[:2], 1))
    flakes = enlarged(flakes, max(1.0, zoom * scale))
    flakes = np.clip(np.where(flakes < threshold, 0.0, flakes), 0, 1)
    flakes = smear(flakes, radius * scale, sigma * scale, rng.uniform(-135, -45))
    gray = (x @ _LUMA)[:, :, None] if x.shape[-1] == 3 else x
    x = keep * x + (1 - keep) * np.maximum(x, gray * 1.5 + 0.5)
    return x + flakes + np.rot90(flakes, k=2)


def frost(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """Ice over a darkened picture.

    The paper's ice is one of six photographs, which are not ours to ship; this is drawn: needles in
    three directions, dense where a fractal is high. The shares of picture and ice are the paper's.
    """
    picture, ice = _FROST[severity - 1]
    # Wider than the picture, so that no needle begins at its border.
    border = round(30 * scale) + 1
    size = len(x) + 2 * border
    density = plasma(size, 2.0, rng)[:, :, None]
    needles = np.zeros_like(density)
    start = rng.uniform(0, 180)
    for turn in (0.0, 60.0, 120.0):
        grains = rng.uniform(size=density.shape) ** (12 - 8 * density)
        degrees = start + turn + rng.uniform(-15, 15)
        needles = np.maximum(needles, smear(grains, 12 * scale, 8 * scale, degrees))
    needles = (needles - needles.mean()) / needles.std()
    crystals = np.clip(0.15 + 0.55 * density + 0.15 * needles, 0, 1)
    crystals = crystals[border:-border, border:-border]
    tint = _ICE if x.shape[-1] == 3 else np.ones(1)
    return picture * x + ice * crystals * tint


def fog(x: Levels, severity: int, scale: float, rng: np.random.Generator) -> Levels:
    """A fractal haze, brought back to the picture's brightest level."""
    del scale
    amount, decay = _FOG[severity - 1]
    brightest = x.max()
    hazy = x + amount * plasma(len(x), decay, rng)[:, :, None]
    return hazy * brightest / (brightest + amount)


def plasma(size: int, decay: float, rng: np.random.Generator) -> Float[np.ndarray, "{size} {size}"]:
    """A random height map in [0, 1] by the diamond-square algorithm (Fournier et al. 1982).

    Args:
        size: Side in pixels; a part of the next power of two, which has no seam.
        decay: By what the roughness falls as the step is halved; near 1 is rough.
        rng: What draws.
    """
    side = 2 ** max(1, int(np.ceil(np.log2(size))))
    heights = np.zeros((side, side))
    step, wobble = side, 100.0

    def middle(total: np.ndarray) -> np.ndarray:
        # The authors' program multiplies twice by the wobble, so that it falls twice as fast.
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        right = corners + np.roll(corners, -1, axis=1)
        heights[half::step, half::step] = middle(right + np.roll(right, -1, axis=0))
        centres = heights[half::step, half::step]
        above = centres + np.roll(centres, 1, axis=0)
        heights[::step, half::step] = middle(above + right)
        beside = centres + np.roll(centres, 1, axis=1)
        below = corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = middle(beside + below)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return (heights / heights.max())[:size, :size]
