"""The table of corruptions from errors by hand."""

import numpy as np
import pytest

from cnn.data.corruptions import CORRUPTIONS
from cnn.evaluators import corruption


def test_alexnets_errors_are_of_the_fifteen():
    assert list(corruption.ALEXNET_ERRORS) == list(CORRUPTIONS)
    # The mean on clean images is 43.5 %; nothing here is better.
    assert min(corruption.ALEXNET_ERRORS.values()) > 0.435


def test_errors_by_hand():
    errors = {"fog": [0.1, 0.4], "shot_noise": [0.2, 0.5]}
    metrics, table = corruption.summarise(errors, [1, 4], published=False)
    assert table.columns == ("corruption", "error at 1", "error at 4", "mean error")
    assert table.rows[0] == ("fog", 0.1, 0.4, pytest.approx(0.25))
    assert table.rows[1] == ("shot_noise", 0.2, 0.5, pytest.approx(0.35))
    assert metrics == {"mean_error": pytest.approx(0.3)}


def test_the_mean_corruption_error_is_over_alexnets_and_of_all_published():
    levels = {name: 0.4 if name.endswith("noise") else 0.3 for name in CORRUPTIONS}
    errors = {name: [level - 0.1, level + 0.1] * 2 + [level] for name, level in levels.items()}
    metrics, table = corruption.summarise(errors, [1, 2, 3, 4, 5], published=True)
    expected = [levels[name] / known for name, known in corruption.ALEXNET_ERRORS.items()]
    assert metrics["mce"] == pytest.approx(np.mean(expected))
    assert [row[-1] for row in table.rows] == pytest.approx(expected)
    for changed in (
        corruption.summarise(errors, [1, 2, 3, 4, 5], published=False),
        corruption.summarise({"fog": errors["fog"]}, [1, 2, 3, 4, 5], published=True),
        corruption.summarise(errors, [1, 2, 3, 4, 4], published=True),
    ):
        assert "mce" not in changed[0]
