"""Ridge regression in both forms, and the draws."""

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.evaluators import few_shot
from tests.evaluators.features import clouds


@pytest.mark.parametrize("count", [4, 20])
def test_ridge_solves_its_equations(count):
    """With fewer examples than features and with more, the slope of the objective is zero."""
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(count, 8)), rng.normal(size=(count, 3))
    weights = few_shot.ridge(x, targets, 0.7)
    np.testing.assert_allclose(x.T @ (x @ weights - targets) + 0.7 * weights, 0, atol=1e-9)


def test_draws_are_nested_and_differ_by_seed():
    labels = np.arange(40) % 4
    two, five = (few_shot.draw(labels, count, 1) for count in (2, 5))
    assert np.bincount(labels[five]).tolist() == [5] * 4
    assert set(two) < set(five)
    assert set(few_shot.draw(labels, 5, 2)) != set(five)


def test_more_images_help_and_the_interval_is_over_seeds():
    found = few_shot.measure(clouds(90, spread=0.9), shots=[1, 25], num_seeds=4, l2=10.0)
    (table,) = found.tables
    one, many = table.rows
    assert many[1] > one[1] + 0.05
    assert found.metrics == {"accuracy_1_shot": one[1], "accuracy_25_shot": many[1]}
    count, mean, std, low, high = one
    assert count == 1
    # Student's factor for four values.
    assert (mean - low, high - mean) == pytest.approx((3.1824 * std / 2,) * 2, rel=1e-4)


def test_too_many_shots_are_one_line():
    with pytest.raises(UserError, match="--shots=21 is more than the 20 training images"):
        few_shot.measure(clouds(), shots=[1, 21], num_seeds=2, l2=1.0)
    with pytest.raises(UserError, match="must be at least 1"):
        few_shot.measure(clouds(), shots=[0], num_seeds=2, l2=1.0)
