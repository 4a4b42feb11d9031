"""What results amount to."""

import pytest

from cnn.ledger.papers import Result, Row
from cnn.ledger.status import judge


def status(values, expected=0.99, seeds=(0, 1, 2)):
    row = Row("a", "b", "c", "eval/accuracy", seeds, expected=expected)
    return judge(row, [Result("a", seed, v, "h", "c", "w", 1.0, "l") for seed, v in values.items()])


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "not run"),
        ({0: 0.995}, "partial"),
        ({0: 0.995, 1: 0.995}, "partial"),
        ({0: 0.990, 1: 0.990, 2: 0.990}, "reproduced"),
        # The interval of the mean is 4.303 * 0.001 / sqrt(3) = 0.0025 wide to each side.
        ({0: 0.987, 1: 0.988, 2: 0.989}, "reproduced"),
        ({0: 0.986, 1: 0.987, 2: 0.988}, "partial"),
        ({0: 0.989, 1: 0.989, 2: 0.989}, "partial"),
    ],
)
def test_words(values, word):
    assert status(values).word == word


def test_two_seeds_have_no_interval_that_counts():
    assert status({0: 0.98, 1: 0.99}, seeds=(0, 1)).word == "partial"
    assert status({0: 0.98, 1: 1.0}, seeds=(0, 1)).word == "reproduced"


def test_without_a_number_nothing_is_reproduced():
    assert status({0: 1.0, 1: 1.0, 2: 1.0}, expected=None).word == "partial"


def test_the_spread_is_of_all_results():
    found = status({0: 0.98, 1: 0.99, 2: 1.0}).spread
    assert (found.num, found.mean) == (3, pytest.approx(0.99))
    assert found.std == pytest.approx(0.01)
