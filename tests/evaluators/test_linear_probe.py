"""Logistic regression against finite differences and a known solution."""

import numpy as np
import pytest

from cnn.evaluators import linear_probe
from tests.evaluators.features import clouds


def test_the_slope_is_that_of_the_objective():
    frozen = clouds(30)
    seen = np.ones(30, np.float32)
    seen[:7] = 0
    x = np.pad(frozen.train, ((0, 0), (0, 1)), constant_values=1.0)
    objective = linear_probe.make_objective(x, frozen.train_labels, seen)
    weights = np.random.default_rng(0).normal(size=(7, 3))
    value, slope = objective(weights, 0.3)
    logits = x[7:].astype(float) @ weights
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = -logs[np.arange(23), frozen.train_labels[7:]].mean()
    assert value == pytest.approx(expected + 0.15 * (weights[:-1] ** 2).sum(), rel=1e-5)
    for place in ((0, 0), (3, 2), (6, 1)):
        step = np.zeros_like(weights)
        step[place] = 0.05
        difference = objective(weights + step, 0.3)[0] - objective(weights - step, 0.3)[0]
        assert slope[place] == pytest.approx(difference / 0.1, abs=2e-3)


def test_one_feature_of_two_classes_by_hand():
    """x = 1 has class 0 three times of four, x = -1 class 1 as often: odds of 3 at either."""
    x = np.array([[1.0, 1.0]] * 4 + [[-1.0, 1.0]] * 4, np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0], np.int32)
    objective = linear_probe.make_objective(x, labels, np.ones(8, np.float32))
    weights = linear_probe.fit(objective, 0.0, np.zeros((2, 2)))
    assert weights[0, 0] - weights[0, 1] == pytest.approx(np.log(3), abs=1e-3)
    assert weights[1, 0] - weights[1, 1] == pytest.approx(0, abs=1e-3)


def test_the_penalty_is_chosen_without_the_test_set():
    frozen = clouds(60, spread=0.3)
    found = linear_probe.measure(frozen)
    assert found.metrics["accuracy"] == 1.0
    (table,) = found.tables
    assert [row[0] for row in table.rows] == list(linear_probe.PENALTIES)
    shares = [row[1] for row in table.rows]
    assert found.metrics["penalty"] == linear_probe.PENALTIES[shares.index(max(shares))]
    wrong = frozen._replace(test_labels=(frozen.test_labels + 1) % 3)
    again = linear_probe.measure(wrong)
    assert again.metrics["accuracy"] == 0.0
    assert again.tables == found.tables
