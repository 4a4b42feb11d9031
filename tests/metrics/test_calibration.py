"""Calibration against slow loops and by hand."""

import math

import numpy as np
import pytest

from cnn.metrics import calibration


def slow_calibration_error(confidence, right, num_bins):
    total = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        inside = [
            (c, r)
            for c, r in zip(confidence, right, strict=True)
            if low < c <= high or (index == 0 and c == 0)
        ]
        if inside:
            gap = np.mean([r for _, r in inside]) - np.mean([c for c, _ in inside])
            total += abs(gap) * len(inside) / len(confidence)
    return total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_calibration_error_against_a_loop(num_bins):
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.1, 1, 500)
    right = rng.uniform(size=500) < confidence**2
    found = calibration.bins(confidence, right, num_bins=num_bins)
    assert found.counts.sum() == 500
    expected = slow_calibration_error(confidence, right, num_bins)
    assert calibration.calibration_error(found) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Two predictions at 0.9, one right: |0.5 - 0.9|; two at 0.6, both right: |1 - 0.6|.
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    found = calibration.bins(confidence, np.array([1, 0, 1, 1], bool), num_bins=5)
    assert found.counts.tolist() == [0, 0, 2, 0, 2]
    assert found.accuracy[[2, 4]].tolist() == [1.0, 0.5]
    assert np.isnan(found.confidence[0])
    assert calibration.calibration_error(found) == pytest.approx(0.4)


def test_certainty_and_none_are_in_the_outer_bins():
    found = calibration.bins(np.array([0.0, 1.0]), np.array([False, True]), num_bins=4)
    assert found.counts.tolist() == [1, 0, 0, 1]


def test_bins_of_equal_mass_by_hand():
    confidence = np.array([0.9, 0.5, 0.8, 0.6, 0.7])
    right = np.array([1, 0, 1, 0, 1], bool)
    found = calibration.bins_of_equal_mass(confidence, right, num_bins=2)
    assert found.counts.tolist() == [3, 2]
    assert found.confidence == pytest.approx([0.6, 0.85])
    assert found.accuracy == pytest.approx([1 / 3, 1.0])
    # 3/5 of |1/3 - 0.6| and 2/5 of |1 - 0.85|.
    assert calibration.calibration_error(found) == pytest.approx(0.6 * (0.6 - 1 / 3) + 0.4 * 0.15)


def test_more_bins_than_examples_are_one_for_each():
    found = calibration.bins_of_equal_mass(np.array([0.5, 1.0]), np.array([True, True]))
    assert found.counts.tolist() == [1, 1]


def test_brier_and_loss_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    labels = np.array([0, 1])
    first, second = 0.5**2 + 2 * 0.25**2, 0.1**2 + 0.9**2 + 0.8**2
    assert calibration.brier_score(logits, labels) == pytest.approx((first + second) / 2)
    expected = -(math.log(0.5) + math.log(0.1)) / 2
    assert calibration.mean_loss(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_that_by_which_true_logits_were_multiplied(temperature):
    """Of labels drawn from the softmax of logits, the least loss is at the logits themselves."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    gumbel = -np.log(-np.log(rng.uniform(size=logits.shape)))
    labels = (logits + gumbel).argmax(axis=-1)
    found = calibration.fit_temperature(temperature * logits, labels)
    # The likelihood's curvature gives the inverse a deviation of about 0.7 %.
    assert found == pytest.approx(temperature, rel=0.03)


def test_two_classes_by_hand():
    """Three of four right at one margin: the best probability is 3/4, at a margin of ln 3."""
    logits = np.array([[5.0, 0.0]] * 4)
    found = calibration.fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(5 / math.log(3), rel=1e-4)
