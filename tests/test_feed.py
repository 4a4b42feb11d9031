"""Batches of the host on their way to the devices: order, waiting, errors, the end."""

import time

import jax
import numpy as np
import pytest

from cnn.errors import UserError
from cnn.feed import HostFeed
from tests import tiny


def numbered(seconds, closed, fail_at=None):
    try:
        for number in range(100):
            time.sleep(seconds)
            if number == fail_at:
                raise UserError("cannot read broken.jpg")
            yield {"image": np.full((2, 1), number, np.float32)}
    finally:
        closed.append(True)


def feed(seconds=0.0, closed=None, fail_at=None):
    batches = numbered(seconds, [] if closed is None else closed, fail_at)
    return HostFeed(batches, tiny.experiment().strategy)


def test_batches_come_in_order_on_the_devices_and_close_with_it():
    closed = []
    found = feed(closed=closed)
    taken = [found.take(9, None) for _ in range(5)]
    assert [int(batch["image"][0, 0]) for batch, _ in taken] == list(range(5))
    assert {steps for _, steps in taken} == {1}
    assert isinstance(taken[0][0]["image"], jax.Array)
    assert not closed
    found.close()
    assert closed


def test_waiting_is_what_the_devices_wait():
    found = feed(seconds=0.1)
    for _ in range(4):
        found.take(1, None)
    assert 0.3 < found.waited < 0.6
    found.close()


def test_data_that_are_there_are_not_waited_for():
    found = feed(seconds=0.02)
    for _ in range(4):
        time.sleep(0.2)
        found.take(1, None)
    assert found.waited < 0.02
    found.close()


def test_time_in_which_devices_are_busy_is_no_waiting(monkeypatch):
    # Data take 0.1 s and each call 0.2 s from when it was begun.
    ends = [0.0]

    def until_done(last):
        time.sleep(max(0.0, ends[0] - time.monotonic()))

    monkeypatch.setattr(jax, "block_until_ready", until_done)
    found = feed(seconds=0.1)
    found.take(1, None)
    began = found.waited
    for _ in range(3):
        ends[0] = time.monotonic() + 0.2
        found.take(1, None)
    assert found.waited - began < 0.02
    found.close()


def test_a_fault_of_the_data_reaches_the_loop():
    found = feed(fail_at=2)
    found.take(1, None)
    found.take(1, None)
    with pytest.raises(UserError, match=r"^cannot read broken.jpg$"):
        found.take(1, None)
    found.close()
