import os

import numpy as np
import pytest

from cnn.benchmark import host


def test_peak_counts_from_the_reset():
    ones = np.ones(40_000_000, np.uint8)
    with_ones = host.peak()
    assert with_ones >= ones.nbytes
    del ones
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system cannot reset a peak")
    host.reset_peak()
    before = host.peak()
    assert before < with_ones
    ones = np.ones(60_000_000, np.uint8)
    assert host.peak() - before == pytest.approx(ones.nbytes, rel=0.2)


def test_available_is_within_a_containers_limit(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(host, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(host, "_GROUP", tmp_path)
    assert host.available() == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert host.available() == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert host.available() == 2000


def test_without_proc_the_system_is_asked(tmp_path, monkeypatch):
    for name in ("_PROCESS", "_MACHINE", "_GROUP"):
        monkeypatch.setattr(host, name, tmp_path / "nothing")
    host.reset_peak()
    assert host.peak() > 10e6
    free = host.available()
    assert free is not None
    assert free > 0


def test_cores_are_those_of_the_process():
    assert 1 <= host.num_cores() <= os.cpu_count()
    assert host.processor()
