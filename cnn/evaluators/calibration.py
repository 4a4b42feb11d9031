"""Whether a classifier is as sure as it is right, and what a temperature makes of it."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from cnn import data
from cnn.evaluators.subject import Subject
from cnn.metrics import calibration
from cnn.report.measurement import Measurement, Table

RELIABILITY = "reliability"
SCALED = "reliability of the measured half, scaled"


def measure(subject: Subject, source: data.Source) -> Measurement:
    """Calibration errors, Brier score, reliability, and temperature scaling."""
    parts = list(subject.logits(source))
    logits, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    metrics, tables = analyse(logits, labels)
    settings = subject.settings(source)
    return Measurement("calibration", subject.step, len(labels), settings, metrics, tables)


def analyse(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> tuple[dict[str, float], tuple[Table, ...]]:
    """(metrics, tables).

    The temperature is fitted on one half of the examples (of each class) and measured on the other,
    as it is without it; the other numbers are of all examples.
    """
    fitted = np.zeros(len(labels), bool)
    fitted[data.stratified(labels.astype(np.int64), 0.5)] = True
    temperature = calibration.fit_temperature(logits[fitted], labels[fitted])
    rest, rest_labels = logits[~fitted], labels[~fitted]
    before, after = (scores(x, rest_labels) for x in (rest, rest / temperature))
    columns = ("", *before)
    rows = (("as it is", *before.values()), ("scaled", *after.values()))
    tables = (
        Table(f"on the {len(rest):,} examples without those of the fit", columns, rows),
        _reliability(RELIABILITY, logits, labels),
        _reliability(SCALED, rest / temperature, rest_labels),
    )
    return {**scores(logits, labels), "temperature": temperature}, tables


def scores(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Accuracy, loss, calibration errors over bins of equal width and mass, and Brier score."""
    confidence, right = _sureness(logits, labels)
    return {
        "accuracy": float(right.mean()),
        "loss": calibration.mean_loss(logits, labels),
        "ece": calibration.calibration_error(calibration.bins(confidence, right)),
        "ece_equal_mass": calibration.calibration_error(
            calibration.bins_of_equal_mass(confidence, right)
        ),
        "brier": calibration.brier_score(logits, labels),
    }


def _reliability(
    title: str, logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> Table:
    found = calibration.bins(*_sureness(logits, labels))
    width = 1 / len(found.counts)
    rows = tuple(
        (index * width, (index + 1) * width, int(count), *map(_or_none, means))
        for index, (count, *means) in enumerate(zip(*found, strict=True))
    )
    return Table(title, ("from", "to", "examples", "confidence", "accuracy"), rows)


def _sureness(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
    probabilities = special.softmax(logits.astype(np.float64), axis=-1)
    return probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
