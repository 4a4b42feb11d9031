"""The spread against scipy and by hand."""

import math

import pytest
from scipy import stats

from cnn.metrics.spread import spread


def test_spread_is_that_of_hand_and_of_scipy():
    values = [0.9, 0.92, 0.97]
    found = spread(values)
    assert found.num == 3
    assert found.mean == pytest.approx(0.93)
    assert found.std == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    low, high = stats.t.interval(0.95, 2, loc=0.93, scale=stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    # Student 1908: 4.303 deviations of the mean for three values.
    assert (found.high - found.mean) / (found.std / math.sqrt(3)) == pytest.approx(4.303, abs=5e-4)


def test_spread_of_one_value_has_no_interval():
    assert spread([0.5]) == (1, 0.5, None, None, None)
