"""The largest batch that fits, with as few compilations as may be."""

from __future__ import annotations

import math
from collections.abc import Callable


def largest(
    needed: Callable[[int], float], capacity: float, *, step: int, start: int, start_needed: float
) -> int:
    """The largest multiple of `step` whose need is at most the capacity; 0 if none is.

    Memory grows with the batch on top of a constant, so the next trial is where a line through what
    is known meets the capacity; it is kept inside the bracket, so this ends as bisection does.

    Args:
        needed: Batch size -> bytes; infinite where that is too much to tell.
        capacity: Bytes that there are.
        step: What batch sizes are multiples of: the chips, times the parts of a batch.
        start: A batch size that is too large, a multiple of `step`.
        start_needed: Its need; infinite or 0 if it is not known.

    Returns:
        A batch size that was tried and fits, or 0; the next sixteenth above it does not, nor the
        next multiple of `step` where that is more.
    """
    low, high = 0, start // step
    known = [(0, 0.0)]
    if 0 < start_needed < math.inf:
        known.append((high, start_needed))
    while high - low > max(1, high // 16):
        trial = min(max(_guess(known, capacity, (low + high) // 2), low + 1), high - 1)
        need = needed(trial * step)
        if need < math.inf:
            # What an empty batch takes is only a guess, which two that were tried replace.
            known = [point for point in known if point[0] or len(known) == 1] + [(trial, need)]
        if need <= capacity:
            low = trial
        else:
            high = trial
    return low * step


def _guess(known: list[tuple[int, float]], capacity: float, otherwise: int) -> int:
    """Where the line through the two points that are nearest to the capacity meets it."""
    if len(known) < 2:
        return otherwise
    (x0, y0), (x1, y1) = sorted(known, key=lambda point: abs(point[1] - capacity))[:2]
    return otherwise if y0 == y1 else math.floor(x0 + (capacity - y0) * (x1 - x0) / (y1 - y0))
