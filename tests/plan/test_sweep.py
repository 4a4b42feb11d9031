from cnn.plan import sweep
from cnn.plan.plan import Plan


def cheap(*, fits=True, hours=1.0, cost=1.0):
    known = {"model": "m", "dtype": "float32", "remat": "none", "topology": "v5e:4x4"}
    sizes = {"num_chips": 16, "parallel": {}, "parameters": 1, "batch_size": 16, "num_steps": 1}
    chip = {"accumulate_steps": 1, "hbm_bytes": 1, "usd_per_chip_hour": None, "price_note": ""}
    return Plan(**known, **sizes, **chip, fits=fits, hours=hours, cost_usd=cost)


def rows(*plans):
    return [sweep.Row({}, plan) for plan in plans]


def test_the_cheapest_fits_and_is_in_time():
    found = rows(
        cheap(cost=9.0),
        cheap(fits=False, cost=1.0),
        cheap(hours=30.0, cost=2.0),
        None,
        cheap(hours=2.0, cost=5.0),
        cheap(cost=None),
    )
    assert sweep.cheapest(found, 10.0) == 4
    assert sweep.cheapest(found, None) == 2
    assert sweep.cheapest(found, 0.5) is None


def test_without_prices_the_fastest_is_best():
    assert sweep.cheapest(rows(cheap(hours=3.0, cost=None), cheap(hours=2.0, cost=None)), None) == 1
