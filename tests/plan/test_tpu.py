import importlib.util

import pytest

from cnn.errors import UserError
from cnn.plan import chips, tpu
from cnn.plan.plan import Request, make_plan
from tests import tiny

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU's compiler is not installed"
)


def test_without_the_compiler_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"libtpu, which is not installed; run: pip install"):
        tpu.devices(chips.parse("v5e:4x4"))


def test_what_the_compiler_needed_is_read_from_its_message():
    message = (
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. "
        "Used 18.77G of 15.75G hbm. Exceeded hbm capacity by 3.02G."
    )
    assert tpu.needed_bytes(message) == round(18.77 * 2**30)
    assert tpu.needed_bytes("RESOURCE_EXHAUSTED: no more to say") == 0


@needs_libtpu
def test_a_slice_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="there is no slice v5e:3x5"):
        tpu.devices(chips.parse("v5e:3x5"))


@needs_libtpu
def test_a_step_is_compiled_for_a_slice_that_is_not_here():
    config = tiny.config(parallel={"num_devices": 0}, model={"name": "lenet_test"})
    plan = make_plan(config, Request(chips.parse("v5e:2x2")))
    assert plan.fits
    assert plan.num_hosts == 1
    assert plan.flops is not None and plan.flops > 0
    assert plan.collectives["all-reduce"].payload_bytes >= 2 * plan.parameters
