"""The scores by hand, and a temperature that is not measured where it was fitted."""

import math

import numpy as np
import pytest

from cnn.evaluators import calibration


def test_scores_by_hand():
    # Sure by 0.9 and wrong, by 0.8 and right.
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8]]))
    found = calibration.scores(logits, np.array([1, 1]))
    assert found == pytest.approx(
        {
            "accuracy": 0.5,
            "loss": -(math.log(0.1) + math.log(0.8)) / 2,
            "ece": (0.9 + 0.2) / 2,
            "ece_equal_mass": (0.9 + 0.2) / 2,
            "brier": (2 * 0.9**2 + 2 * 0.2**2) / 2,
        }
    )


def test_the_temperature_is_fitted_on_one_half_and_measured_on_the_other():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(4000, 4))
    gumbel = -np.log(-np.log(rng.uniform(size=logits.shape)))
    labels = (logits + gumbel).argmax(axis=-1)
    metrics, tables = calibration.analyse(3 * logits, labels)
    assert metrics["temperature"] == pytest.approx(3.0, rel=0.1)
    halves, bins, scaled = tables
    before, after = (dict(zip(halves.columns, row, strict=True)) for row in halves.rows)
    assert before["accuracy"] == after["accuracy"]
    assert after["ece"] < before["ece"] / 3
    assert after["loss"] < before["loss"]
    assert abs(sum(row[2] for row in scaled.rows) - 2000) <= 2
    assert sum(row[2] for row in bins.rows) == 4000
    # Only the fitted half moves the temperature.
    fitted = np.zeros(4000, bool)
    fitted[calibration.data.stratified(labels, 0.5)] = True
    other = np.where(fitted, labels, (labels + 1) % 4)
    again = calibration.calibration.fit_temperature(3 * logits[fitted], other[fitted])
    assert again == pytest.approx(metrics["temperature"])
