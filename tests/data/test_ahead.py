import itertools
import logging
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cnn.data.ahead import read_ahead
from cnn.data.contract import ArraySource, SourceInfo
from cnn.data.faults import Skipping
from cnn.data.pipeline import Host, train_batches
from cnn.data.sampling import make_sampling
from cnn.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def doubled():
    return lambda step: {"x": np.full((3, 2), 2 * step), "empty": np.zeros((0, 4), np.float32)}


def taken(num_workers, steps=range(10), **options):
    return list(read_ahead(doubled, steps, num_threads=0, num_workers=num_workers, **options))


def workers():
    return multiprocessing.active_children()


def shared_memory():
    """The segments there are; None where the system does not show them."""
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.glob("psm_*")} if folder.exists() else None


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_whole_and_leave_nothing(num_workers):
    before = shared_memory()
    found = taken(num_workers)
    assert [int(arrays["x"][2, 1]) for arrays in found] == list(range(0, 20, 2))
    assert found[0]["empty"].shape == (0, 4)
    assert found[0]["empty"].dtype == np.float32
    assert not workers()
    assert shared_memory() == before


def test_closing_in_the_middle_leaves_nothing():
    before = shared_memory()
    results = read_ahead(doubled, range(10**9), num_threads=0, num_workers=2)
    assert not workers()
    next(results)
    assert len(workers()) == 2
    results.close()
    assert not workers()
    assert shared_memory() == before


def test_a_worker_that_dies_is_one_line_and_no_hang():
    def dying():
        return lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == 3 else doubled()(step)

    results = read_ahead(dying, range(10), num_threads=0, num_workers=2)
    with pytest.raises(UserError, match=r"a worker process of the loader died.*num_workers"):
        list(results)
    assert not workers()


def test_mistakes_come_through_and_other_errors_too():
    def refusing():
        raise UserError("cannot read broken.jpg")

    def wrong():
        return lambda step: {"x": np.zeros(1)[step]}

    with pytest.raises(UserError, match=r"^cannot read broken.jpg$"):
        list(read_ahead(refusing, range(3), num_threads=0, num_workers=1))
    with pytest.raises(IndexError):
        list(read_ahead(wrong, range(3), num_threads=0, num_workers=1))
    assert not workers()


def test_what_cannot_be_pickled_is_one_line():
    lock = threading.Lock()
    results = read_ahead(lambda: lock, range(3), num_threads=0, num_workers=1)
    with pytest.raises(UserError, match=r"cannot be handed to worker processes.*num_workers=0"):
        next(results)


@pytest.mark.parametrize("name", ["num_threads", "num_workers"])
def test_negative_numbers_are_refused(name):
    numbers = {"num_threads": 0, "num_workers": 0, name: -1}
    with pytest.raises(UserError, match=f"loader.{name} must be at least 0, got -1"):
        read_ahead(doubled, range(3), **numbers)


RNG = np.random.default_rng(0)
PICTURES = ArraySource(
    RNG.integers(0, 256, (45, 9, 8, 3), np.uint8),
    np.arange(45) % 3,
    SourceInfo("pictures", ("a", "b", "c")),
)


def noisy(image, rng):
    return image + rng.random(image.shape, np.float32)


def batches(count, source=PICTURES, **options):
    made = train_batches(source, noisy, batch_size=8, seed=5, **options)
    found = list(itertools.islice(made, count))
    made.close()
    return found


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype


@pytest.mark.parametrize("num_workers", [1, 4])
def test_batches_are_those_of_no_workers(num_workers):
    assert_same(batches(12, num_workers=num_workers), batches(12))


@pytest.mark.parametrize("host_count", [2, 8])
def test_slices_of_hosts_with_workers_make_the_batch_of_one(host_count):
    # Of eight hosts the first and the last have workers, which keeps the test short.
    parts = [
        batches(7, host=Host(i, host_count), num_workers=int(i in (0, host_count - 1)))
        for i in range(host_count)
    ]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, batches(7))


def test_a_run_goes_on_in_an_epoch_with_other_workers():
    whole = batches(14)
    assert_same(batches(7, start_step=0, num_workers=2), whole[:7])
    assert_same(batches(7, start_step=7, num_workers=3), whole[7:])


class Faulty:
    """Pictures of which those of `broken` cannot be read."""

    info = PICTURES.info

    def __init__(self, count, broken):
        self.count = count
        self.broken = broken

    def __len__(self):
        return self.count

    def __getitem__(self, index, /):
        if index in self.broken:
            raise UserError(f"cannot read {index}.jpg")
        return PICTURES[index % 45]


def test_faults_of_workers_are_counted_here(caplog):
    source = make_sampling(Faulty(400, {7, 30, 31}))
    with caplog.at_level(logging.WARNING, "cnn.data"):
        found = batches(100, source, num_workers=2)
    assert [r.getMessage().split(" of ")[0] for r in caplog.records] == ["skipped 1", "skipped 2"]
    assert len(source.faults) == 3
    assert_same(found, batches(100, Skipping(Faulty(400, {7, 30, 31}))))


def test_too_many_faults_of_all_workers_together_stop():
    with pytest.raises(UserError, match=r"5 of the 400 examples of pictures cannot be read"):
        batches(100, make_sampling(Faulty(400, {1, 2, 3, 4, 5})), num_workers=4)
    with pytest.raises(UserError, match=r"^cannot read 1.jpg$"):
        batches(100, make_sampling(Faulty(400, {1}), on_error="raise"), num_workers=2)


def test_workers_end_with_a_process_that_is_killed():
    code = "\n".join(
        [
            "import multiprocessing, numpy as np, time",
            "from cnn.data.ahead import read_ahead",
            "if __name__ == '__main__':",
            "    make = lambda: lambda step: {'x': np.zeros(1)}",
            "    results = read_ahead(make, range(10**9), num_threads=0, num_workers=2)",
            "    next(results)",
            "    print(*(p.pid for p in multiprocessing.active_children()), flush=True)",
            "    time.sleep(60)",
        ]
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        pids = [int(word) for word in child.stdout.readline().split()]
        child.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    """Whether a process runs; one that has ended and was not asked for is a zombie ("Z")."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
