"""Means of weights, and which of them go in."""

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.pretrained import soup
from cnn.pretrained.facts import Facts
from cnn.pretrained.files import Weights


def point(*values, **others):
    return {"w": np.asarray(values, np.float32), **others}


def test_the_mean_is_that_of_each_tensor_in_its_type():
    counts = [{"n": np.asarray(n)} for n in (3, 4, 9)]
    parts = [point(value, 3 * value, **n) for value, n in zip((1.0, 2.0, 6.0), counts, strict=True)]
    mean = soup.average(parts, "abc")
    np.testing.assert_array_equal(mean["w"], np.asarray([3.0, 9.0], np.float32))
    assert mean["w"].dtype == np.float32
    assert mean["n"].dtype == parts[0]["n"].dtype


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (point(1.0, 2.0, 3.0), r"a and b are not of one network: 'w' is \(2,\) in .* \(3,\) in"),
        (point(1.0, 2.0, x=np.ones(1)), r"'x' is nothing in the first and \(1,\) in the other"),
        ({}, r"'w' is \(2,\) in the first and nothing in the other"),
    ],
)
def test_other_networks_are_refused(other, message):
    with pytest.raises(UserError, match=message):
        soup.average([point(1.0, 2.0), other], "ab")


def test_the_greedy_soup_takes_what_does_no_harm_best_first():
    # The nearer to 5 the better: 4 is best; with 3.5 it is worse, with 7 better, with 20 far off.
    parts = {"far": point(20.0), "right": point(7.0), "left": point(4.0), "low": point(3.5)}
    asked = []

    def score(tensors):
        asked.append(float(tensors["w"][0]))
        return -abs(asked[-1] - 5.0)

    mean, chosen, best = soup.greedy([*parts.values()], [*parts], score)
    assert chosen == ["left", "right"]
    assert float(mean["w"][0]) == pytest.approx(5.5)
    assert best == pytest.approx(-0.5)
    assert asked[:4] == [20.0, 7.0, 4.0, 3.5]
    assert asked[4:] == pytest.approx([3.75, 5.5, 31 / 3])


def test_what_says_that_it_is_of_another_network_is_refused():
    weights = [Weights({}, Facts(name)) for name in ("resnet18", "", "resnet34")]
    soup.check_one_network(weights[:2], "ab")
    with pytest.raises(UserError, match="a and c are not of one network: model is 'resnet18' in"):
        soup.check_one_network(weights, "abc")
