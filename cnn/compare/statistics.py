"""What several seeds and several models say: tests, agreement, Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy import stats


def paired_t(left: Sequence[float], right: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's paired test, pairs in order.

    None where there is nothing to test: fewer than two pairs, or all differences are the same.
    """
    if len(left) < 2 or np.ptp(np.subtract(left, right)) == 0:
        return None
    return float(stats.ttest_rel(left, right).pvalue)


class Discordant(NamedTuple):
    """How many examples only the one, or only the other, of two models has right."""

    only_left: int
    only_right: int


def discordant(left: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Discordant:
    """Counts the examples on which two models differ in being right."""
    return Discordant(int((left & ~right).sum()), int((right & ~left).sum()))


def mcnemar(counts: Discordant) -> float:
    """The exact two-sided p-value of McNemar's test: 1 where the models never differ.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions";
    exact as in Dietterich 1998, "Approximate statistical tests for comparing supervised
    classification learning algorithms", section 3.1, but for its correction of continuity.
    """
    total = sum(counts)
    return float(stats.binomtest(counts.only_left, total, 0.5).pvalue) if total else 1.0


def combined(p_values: Sequence[float]) -> float:
    """One p-value for several tests of one hypothesis that depend on each other in any way.

    The k-th smallest of n, times n / k, where k is n // 2 + 1: of one it is that one, of three it
    is 1.5 times the middle one. Rueger 1978, "Das maximale Signifikanzniveau des Tests: Lehne H0
    ab, wenn k unter n gegebenen Tests zur Ablehnung fuehren".
    """
    n = len(p_values)
    k = n // 2 + 1
    return min(1.0, sorted(p_values)[k - 1] * n / k)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted for so many tests; None stays, and does not count.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    known = [(p, index) for index, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(sorted(known)):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def error_consistency(left: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float | None:
    """Cohen's kappa of being right: 1 for the same errors, 0 for what their accuracies explain.

    Geirhos et al. 2020, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans
    by measuring error consistency", section 2. None where chance alone explains all: one has
    everything right, or everything wrong, and the other too.
    """
    p, q = float(left.mean()), float(right.mean())
    expected = p * q + (1 - p) * (1 - q)
    if expected == 1:
        return None
    return (float((left == right).mean()) - expected) / (1 - expected)


def pareto_front(costs: Sequence[float | int], values: Sequence[float]) -> list[bool]:
    """Which points no other beats: at most as costly and at least as good, and one of them more."""
    points = list(zip(costs, values, strict=True))
    return [
        not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        for cost, value in points
    ]
