"""The largest batch that fits, with as few compilations as may be."""

from __future__ import annotations

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
    low_needed, high_needed = 0.0, start_needed or float("inf")
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        if high_needed != float("inf"):
            slope = (high_needed - low_needed) / (high - low)
            middle = low + int((capacity - low_needed) / slope)
        middle = min(max(middle, low + 1), high - 1)
        need = needed(middle * step)
        if need <= capacity:
            low, low_needed = middle, need
        else:
            high, high_needed = middle, need
    return low * step
