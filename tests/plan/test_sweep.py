import pytest

from cnn.errors import UserError
from cnn.plan import sweep


class Cheap:
    def __init__(self, fits=True, hours=1.0, cost=1.0):
        self.fits, self.hours, self.cost_usd = fits, hours, cost


def rows(*plans):
    return [sweep.Row({}, plan) for plan in plans]


def test_every_combination_is_there():
    found = list(sweep.combinations("topology=v5e:4x4,v6e:4x4; loader.batch_size=2048,4096"))
    assert found == [
        {"topology": "v5e:4x4", "loader.batch_size": "2048"},
        {"topology": "v5e:4x4", "loader.batch_size": "4096"},
        {"topology": "v6e:4x4", "loader.batch_size": "2048"},
        {"topology": "v6e:4x4", "loader.batch_size": "4096"},
    ]


def test_a_bar_parts_values_with_commas():
    found = list(sweep.combinations("config.parallel.mesh=data:16|data:4,fsdp:4"))
    assert found == [{"parallel.mesh": "data:16"}, {"parallel.mesh": "data:4,fsdp:4"}]


@pytest.mark.parametrize("text", ["topology", "=1", "a=", "a=1,,2", "a=1;a=2", ";"])
def test_what_is_no_sweep_is_refused(text):
    with pytest.raises(UserError, match="KEY=VALUE"):
        list(sweep.combinations(text))


def test_the_cheapest_fits_and_is_in_time():
    found = rows(
        Cheap(cost=9.0),
        Cheap(fits=False, cost=1.0),
        Cheap(hours=30.0, cost=2.0),
        None,
        Cheap(hours=2.0, cost=5.0),
        Cheap(cost=None),
    )
    assert sweep.cheapest(found, 10.0) == 4
    assert sweep.cheapest(found, None) == 2
    assert sweep.cheapest(found, 0.5) is None


def test_without_prices_the_fastest_is_best():
    assert sweep.cheapest(rows(Cheap(hours=3.0, cost=None), Cheap(hours=2.0, cost=None)), None) == 1
