"""One real process; what it is asked for elsewhere is tested without one."""

import multiprocessing
import os
import signal
import threading

import pytest

from cnn.benchmark import worker
from cnn.benchmark.job import Network, parse
from cnn.errors import UserError


def test_a_worker_computes_complains_and_dies(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with worker.Worker(str(tmp_path), "ours") as child:
        machine = child.machine()
        assert machine["platform"] == "cpu"
        assert machine["num_devices"] == 1
        child.open("one", "flax", parse("conv:1x8x8x4,k3"))
        assert child.call("one", "prepare", None).compile_seconds > 0
        child.call("one", "start")
        assert child.call("one", "run", 2) > 0
        # The side's own folder has the program.
        assert list((tmp_path / "flax").iterdir())
        with pytest.raises(UserError, match="unknown model 'resnet_tst'; did you mean"):
            child.open("two", "ours", Network("resnet_tst", "infer", 1, 8, 3, 2, "float32"))
        assert child.is_alive()
        os.kill(child._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="ended by signal 9, most likely for lack of memory"):
            child.machine()
        assert not child.is_alive()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("one line"), "one line"),
        (MemoryError(), "there is not enough memory; try a smaller --batch_size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_what_a_user_can_mend_is_an_answer(error, line, monkeypatch):
    def answer(*_):
        raise error

    monkeypatch.setattr(worker, "_answer", answer)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    parent, child = multiprocessing.Pipe()
    serving = threading.Thread(target=worker._serve, args=(child, ""))
    serving.start()
    for _ in range(2):
        parent.send(("machine",))
        good, said = parent.recv()
        assert not good
        assert line in said
    parent.close()
    serving.join()


def test_a_mistake_of_ours_is_a_traceback(monkeypatch):
    def answer(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(worker, "_answer", answer)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    parent, child = multiprocessing.Pipe()
    parent.send(("machine",))
    with pytest.raises(RuntimeError, match="shapes differ"):
        worker._serve(child, "")
