"""Accuracy among some classes, by hand."""

import math

import numpy as np
import pytest

from cnn.evaluators.accuracy import score

LOGITS = np.log(np.array([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.2, 0.7, 0.1]]))


def test_among_all_classes():
    labels = np.array([0, 2, 1])
    metrics, count = score([(LOGITS[:2], labels[:2]), (LOGITS[2:], labels[2:])], np.arange(3))
    assert count == 3
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(-(math.log(0.5) + math.log(0.3) + math.log(0.7)) / 3)
    assert "top5_accuracy" not in metrics


def test_among_those_that_occur():
    """Without class 0 the second is right, and probabilities are shares of what is left."""
    labels = np.array([1, 2, 1])
    metrics, _ = score([(LOGITS, labels)], np.array([1, 2]))
    assert metrics["accuracy"] == 1.0
    shares = 0.3 / 0.5, 0.3 / 0.4, 0.7 / 0.8
    assert metrics["loss"] == pytest.approx(-sum(map(math.log, shares)) / 3)


def test_the_sixth_is_not_among_five():
    logits = np.arange(7.0)[None].repeat(2, 0)
    metrics, _ = score([(logits, np.array([2, 1]))], np.arange(7))
    assert metrics["top5_accuracy"] == 0.5
