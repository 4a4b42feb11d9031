import pytest

from cnn.plan import chips
from cnn.plan.costs import Costs, Memory, roofline
from cnn.plan.hlo import Traffic

V5E = chips.chips()["v5e"]


@pytest.mark.parametrize(
    "flops, accessed, sent, seconds, bound",
    [
        (197e12, 0, 0, 1.0, "compute"),
        (197e10, 819e8, 0, 0.1, "memory"),
        (197e10, 819e7, 200e8, 0.1, "interconnect"),
    ],
)
def test_the_slowest_limit_is_the_time(flops, accessed, sent, seconds, bound):
    traffic = {"all-reduce": Traffic(1, 0, sent / 2), "all-gather": Traffic(1, 0, sent / 2)}
    costs = Costs(Memory(1, 2, 3), flops, accessed, traffic, 2, is_estimate=False)
    found = roofline(costs, V5E)
    assert found.seconds == pytest.approx(seconds)
    assert found.bound_by == bound


def test_memory_is_all_of_it():
    assert Memory(1, 20, 300).total == 321
