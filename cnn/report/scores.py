"""What a confusion matrix and a proportion say: intervals, scores by class, confused pairs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Confusion = Int[np.ndarray, "true predicted"]


class Interval(NamedTuple):
    """A range within [0, 1]."""

    low: float
    high: float


def wilson_interval(proportion: float, count: int, *, z: float = 1.959964) -> Interval:
    """The score interval of a proportion (Wilson 1927), which stays within [0, 1] near both ends.

    Args:
        proportion: The share of successes, in [0, 1].
        count: The number of independent trials, at least 1.
        z: The normal quantile; the default gives 95 % confidence.
    """
    shrink = 1 + z**2 / count
    centre = (proportion + z**2 / (2 * count)) / shrink
    spread = math.sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    half = z * spread / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


class ClassScores(NamedTuple):
    """Scores by class, in [0, 1]; NaN where there is nothing to divide by.

    `recall` is NaN for a class without examples, `precision` for one that was never predicted, and
    `f1`, 2 tp / (2 tp + fp + fn), for one that has neither.
    """

    examples: Int[np.ndarray, " classes"]
    recall: Float[np.ndarray, " classes"]
    precision: Float[np.ndarray, " classes"]
    f1: Float[np.ndarray, " classes"]


def by_class(confusion: Confusion) -> ClassScores:
    """The scores of each class against the rest."""
    right = np.diag(confusion)
    examples = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)
    return ClassScores(
        examples=examples,
        recall=_divide(right, examples),
        precision=_divide(right, predicted),
        f1=_divide(2 * right, examples + predicted),
    )


class ConfusedPair(NamedTuple):
    """So many `examples` of the class at `true` were taken for that at `predicted`."""

    true: int
    predicted: int
    examples: int


def confused_pairs(confusion: Confusion, *, limit: int) -> list[ConfusedPair]:
    """The pairs that are confused most often, at most `limit`, in the order of classes if equal."""
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    pairs = np.column_stack(np.unravel_index(order, errors.shape))
    return [
        ConfusedPair(int(true), int(predicted), int(errors[true, predicted]))
        for true, predicted in pairs
        if errors[true, predicted]
    ]


def _divide(
    numerator: Int[np.ndarray, " classes"], denominator: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    shares = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=shares, where=denominator > 0)
