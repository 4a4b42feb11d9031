import pytest

from cnn import nn


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, 8), (8, 8), (11.9, 16), (12, 16), (20, 24), (24 * 1.1, 24), (112 * 1.4, 160), (90, 88)],
)
def test_the_nearest_multiple_of_eight_that_is_not_a_tenth_less(width, expected):
    assert nn.make_divisible(width) == expected
    assert expected >= 0.9 * width


def test_another_divisor():
    assert nn.make_divisible(32, 10) == 30
    assert nn.make_divisible(14, 10) == 20
