"""Whether a model is as sure as it is right: bins of confidence, calibration error, temperature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special

NUM_BINS = 15
"""Of the calibration error, as in its paper."""


class Bins(NamedTuple):
    """Examples by the confidence of their prediction, in bins of equal width over [0, 1].

    `confidence` and `accuracy` are means in a bin, NaN in an empty one.
    """

    counts: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]


def bins(
    confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], *, num_bins: int = NUM_BINS
) -> Bins:
    """Sorts predictions by confidence; a confidence on a border belongs to the lower bin."""
    which = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(which, minlength=num_bins)
    totals = (np.bincount(which, values, num_bins) for values in (confidence, right))
    empty = np.full(num_bins, np.nan)
    means = (np.divide(total, count, out=empty.copy(), where=count > 0) for total in totals)
    return Bins(count, *means)


def calibration_error(found: Bins) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy, in [0, 1].

    Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    distances = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float((distances * found.counts).sum() / found.counts.sum())


def bins_of_equal_mass(
    confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], *, num_bins: int = NUM_BINS
) -> Bins:
    """Predictions by confidence in bins of as many examples, but for one more in some.

    Nixon et al. 2019, "Measuring calibration in deep learning", section 3: where most predictions
    are sure, bins of equal width hold nearly all in one. Equal confidences keep their order.
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(num_bins, len(order)))
    return Bins(
        np.array([len(part) for part in parts]),
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
    )


def brier_score(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean over examples of the squared distance of probabilities and truth, in [0, 2].

    Brier 1950, "Verification of forecasts expressed in terms of probability", equation 2.
    """
    wrong = special.softmax(logits.astype(np.float64), axis=-1)
    wrong[np.arange(len(labels)), labels] -= 1
    return float((wrong**2).sum(axis=-1).mean())


def mean_loss(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean cross-entropy in nats."""
    logs = special.log_softmax(logits.astype(np.float64), axis=-1)
    return float(-logs[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> float:
    """The number, between 0.01 and 100, by which logits are divided for the least cross-entropy.

    Guo et al. 2017, section 4.2. It changes no prediction, only how sure it is.
    """
    # The loss is convex in the inverse, so the search finds the least there is.
    found = optimize.minimize_scalar(
        lambda inverse: mean_loss(logits * inverse, labels),
        bounds=(0.01, 100.0),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(1 / found.x)
