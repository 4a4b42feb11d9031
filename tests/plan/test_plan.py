"""Plans from what a compiler would say."""

import jax
import pytest

from cnn.plan import chips, plan, tpu
from cnn.plan.costs import Costs, Memory, OutOfMemory
from cnn.plan.hlo import Traffic
from tests import tiny

V5E = chips.chips()["v5e"]
GIB = 2**30


def costs(batch_size):
    memory = Memory(GIB, batch_size * GIB // 4, 0)
    traffic = {"all-reduce": Traffic(3, 1000, 1500.0)}
    return Costs(memory, 1e12, 819e9, traffic, num_hosts=2, is_estimate=False)


@pytest.fixture
def compiled(monkeypatch):
    """The batch sizes that were compiled; more than 64 GiB are too much for the compiler."""
    sizes = []

    def compile_step(step, devices, num_chips):
        size = step.experiment.config["loader"]["batch_size"]
        sizes.append(size)
        if size > 256:
            raise OutOfMemory(0)
        return costs(size)

    monkeypatch.setattr(tpu, "devices", lambda topology: jax.devices())
    monkeypatch.setattr(tpu, "compile_step", compile_step)
    return sizes


def made(batch_size, **request):
    config = tiny.config(loader={"batch_size": batch_size}, parallel={"num_devices": 0})
    config["train"].update(num_steps=7200)
    return plan.make_plan(config, plan.Request(chips.parse("v5e:2x4"), **request))


def test_time_and_cost_follow_from_the_slowest_limit(compiled):
    found = made(16)
    assert found.fits and found.largest_batch_size is None
    assert found.bound_by == "memory"
    assert found.step_seconds == pytest.approx(1.0)
    assert found.images_per_second == pytest.approx(16)
    assert found.hours == pytest.approx(2.0)
    assert found.cost_usd == pytest.approx(2.0 * 8 * V5E.usd_per_hour)
    assert found.total_bytes == 5 * GIB
    assert found.num_hosts == 2
    assert compiled == [16]


def test_a_price_of_ones_own_is_taken(compiled):
    found = made(16, usd_per_hour=10.0)
    assert found.cost_usd == pytest.approx(160.0)
    assert found.price_note == "--price"


@pytest.mark.parametrize("batch_size", [128, 512])
def test_where_a_batch_does_not_fit_the_largest_is_found(compiled, batch_size):
    found = made(batch_size)
    assert found.fits is False
    # 60 examples would fit; multiples of 8 chips do.
    assert found.largest_batch_size == 56
    assert compiled[0] == batch_size
    assert len(compiled) < 8
    assert (found.flops is None) == (batch_size == 512)


def test_the_search_can_be_left_out(compiled):
    assert made(512, search=False).largest_batch_size is None
    assert compiled == [512]


def test_json_holds_every_number(compiled):
    found = made(16).as_json()
    assert found["collectives"] == {
        "all-reduce": {"calls": 3, "payload_bytes": 1000, "sent_bytes": 1500.0}
    }
    assert found["topology"] == "v5e:2x4"
    assert found["parallel"]["strategy"] == "mesh"
