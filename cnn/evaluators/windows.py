"""A class for each pixel of images larger than what a network takes: by windows that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from cnn.errors import UserError

Probabilities = Float32[np.ndarray, "height width classes"]


class Windows(NamedTuple):
    """How an image is cut.

    Attributes:
        size_px: Side of a window, which is what the network takes.
        overlap: Share of a window's side that its neighbour covers too, in [0, 1).
        margin_px: So far from a window's edge inside the image nothing is taken from it: what a
            network without padding had to mirror (Ronneberger et al. 2015, figure 2). Where it is
            all that a pixel depends on, the result is that of the whole image at once.
        batch_size: Windows that are computed at once.
    """

    size_px: int
    overlap: float = 0.5
    margin_px: int = 0
    batch_size: int = 8


def by_windows(
    probabilities_of: Callable[
        [Shaped[np.ndarray, "batch size size channels"]],
        Float32[np.ndarray, "batch size size classes"],
    ],
    image: Shaped[np.ndarray, "height width channels"],
    windows: Windows,
) -> Probabilities:
    """The probabilities of every pixel, each a weighted mean over the windows that show it.

    A window weighs most in its middle and least at its edges, but for those that are the image's,
    which no other window shows better. Smaller images are mirrored at their edges first.

    Args:
        probabilities_of: Of windows; always as many at once, the last ones repeated.
        image: As the network takes it.
        windows: How it is cut.

    Raises:
        UserError: If windows do not overlap enough to leave their margins out.
    """
    size = windows.size_px
    stride = _stride(windows)
    height, width = image.shape[:2]
    after = [(0, max(0, size - side)) for side in (height, width)]
    padded = np.pad(image, (*after, (0, 0)), mode="symmetric")
    corners = [
        (top, left)
        for top in _starts(padded.shape[0], size, stride)
        for left in _starts(padded.shape[1], size, stride)
    ]
    total: np.ndarray | None = None
    weights = np.zeros((*padded.shape[:2], 1), np.float32)
    for (top, left), found in _computed(probabilities_of, padded, corners, windows):
        if total is None:
            total = np.zeros((*padded.shape[:2], found.shape[-1]), np.float32)
        rows = _ramp(top, padded.shape[0], windows)
        columns = _ramp(left, padded.shape[1], windows)
        weight = (rows[:, None] * columns[None, :])[..., None]
        total[top : top + size, left : left + size] += weight * found
        weights[top : top + size, left : left + size] += weight
    assert total is not None
    return (total / weights)[:height, :width]


def _stride(windows: Windows) -> int:
    if not 0 <= windows.overlap < 1:
        raise UserError(f"the overlap of windows must be in [0, 1), got {windows.overlap}")
    stride = max(1, round(windows.size_px * (1 - windows.overlap)))
    if stride > windows.size_px - 2 * windows.margin_px:
        least = 2 * windows.margin_px / windows.size_px
        raise UserError(
            f"windows of {windows.size_px} pixels whose outer {windows.margin_px} do not count "
            f"must overlap by {least:.2f} at least, got {windows.overlap}"
        )
    return stride


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Where windows begin: at every stride, and the last one at the end."""
    return sorted({*range(0, length - size, stride), length - size})


def _ramp(start: int, length: int, windows: Windows) -> Float32[np.ndarray, " size"]:
    """What each row of a window weighs."""
    places = np.arange(windows.size_px)
    before = np.inf if start == 0 else 1.0
    after = np.inf if start + windows.size_px == length else 1.0
    nearest = np.minimum(before * (places + 1), after * (windows.size_px - places))
    whole = (windows.size_px + 1) // 2 - windows.margin_px
    return np.clip((nearest - windows.margin_px) / whole, 0, 1).astype(np.float32)


def _computed(
    probabilities_of: Callable[..., np.ndarray],
    image: Shaped[np.ndarray, "height width channels"],
    corners: list[tuple[int, int]],
    windows: Windows,
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Each window's corner and probabilities, one batch of windows after another."""
    size, count = windows.size_px, windows.batch_size
    for start in range(0, len(corners), count):
        some = corners[start : start + count]
        filled = some + some[-1:] * (count - len(some))
        batch = np.stack([image[top : top + size, left : left + size] for top, left in filled])
        yield from zip(some, probabilities_of(batch), strict=False)
