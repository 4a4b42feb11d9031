import pytest

from cnn.errors import UserError
from cnn.plan import chips


def test_a_topology_is_a_chip_and_a_shape():
    topology = chips.parse("V5E:4x4")
    assert (topology.chip.name, topology.shape, topology.num_chips) == ("v5e", (4, 4), 16)
    assert str(topology) == "v5e:4x4"
    assert chips.parse("v5p:2x2x4").num_chips == 16
    assert chips.parse("h100:8").num_chips == 8


def test_an_unknown_chip_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown chip 'v5'.*did you mean 'v5[ep]'"):
        chips.parse("v5:4x4")


@pytest.mark.parametrize("text", ["v5e", "v5e:", "v5e:0x4", "v5e:4x", "v5e:4x4x4x4", "v5e:four"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(UserError, match="CHIP:SHAPE"):
        chips.parse(text)


@pytest.mark.parametrize("chip", chips.chips().values(), ids=str)
def test_constants_are_whole_and_have_a_source(chip):
    assert chip.kind in ("tpu", "gpu")
    # In their units: a slip of a thousand would be outside.
    assert 1e14 < chip.flops < 1e16
    assert 2**34 <= chip.hbm_bytes < 2**38
    assert 5e11 < chip.hbm_bandwidth < 1e13
    assert 1e11 < chip.link_bandwidth < 1e12
    assert chip.chips_per_host in (4, 8)
    assert len(chip.source) > 20
    assert bool(chip.usd_per_hour) == bool(chip.price_note)
