import numpy as np
import pytest

from cnn.report import scores

# Class 0: 3 right, 1 taken for class 1; class 1: 1 right, 2 taken for class 0; class 2 never occurs
# but was predicted once; class 3 neither occurs nor is predicted.
CONFUSION = np.array([[3, 1, 0, 0], [2, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


# From scipy.stats.binomtest(...).proportion_ci(method="wilson").
@pytest.mark.parametrize(
    ("proportion", "count", "low", "high"),
    [
        (0.5, 10, 0.236593, 0.763407),
        (0.983, 1000, 0.972944, 0.989359),
        (0.0, 10, 0.0, 0.277533),
        (1.0, 10, 0.722467, 1.0),
    ],
)
def test_the_wilson_interval(proportion, count, low, high):
    np.testing.assert_allclose(scores.wilson_interval(proportion, count), (low, high), atol=1e-6)


def test_the_interval_holds_the_roots_of_the_score_equation():
    proportion, count, z = 0.37, 53, 1.959964
    for bound in scores.wilson_interval(proportion, count):
        assert (proportion - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / count)


def test_scores_by_class():
    result = scores.by_class(CONFUSION)
    np.testing.assert_array_equal(result.examples, [4, 4, 0, 0])
    np.testing.assert_allclose(result.recall, [3 / 4, 1 / 4, np.nan, np.nan])
    np.testing.assert_allclose(result.precision, [3 / 5, 1 / 2, 0, np.nan])
    np.testing.assert_allclose(result.f1, [2 / 3, 1 / 3, 0, np.nan])


def test_pairs_are_the_largest_errors_and_none_of_zero():
    assert scores.confused_pairs(CONFUSION, limit=10) == [(1, 0, 2), (0, 1, 1), (1, 2, 1)]
    assert scores.confused_pairs(CONFUSION, limit=1) == [(1, 0, 2)]
    assert CONFUSION[0, 0] == 3
