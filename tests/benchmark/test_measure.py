import numpy as np
import pytest

from cnn.benchmark import measure
from cnn.benchmark.job import Network, Prepared, parse
from cnn.benchmark.worker import Worker
from cnn.errors import UserError

NETWORK = Network("resnet_test", "train", 4, 32, 3, 10, "float32")


class FakeWorker(Worker):
    """Sides whose step takes what `seconds` says; `broken` maps (side, method) to an error."""

    def __init__(self, seconds, broken, log):
        self.seconds, self.broken, self.log = seconds, broken, log
        self.open_names = {}
        self.alive = True

    def open(self, name, side, job):
        self.open_names[name] = (side, job)

    def call(self, name, method, *args):
        self.log.append((name, method, *args))
        if (name, method) in self.broken:
            raise UserError(self.broken[name, method])
        if method == "run":
            return next(self.seconds[name])
        return {
            "prepare": Prepared(compile_seconds=1.0 if args == (None,) else 0.5),
            "count": "counts",
            "peak_bytes": 7,
            "gflop": 10.0,
            "profile": ["costs"],
            "start": None,
        }[method]

    def is_alive(self):
        return self.alive

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.alive = False


class Clocks(dict):
    """For each side an endless run of times."""

    def __missing__(self, name):
        self[name] = iter([1.0] * 100)
        return self[name]


def settings(against=("flax",), *, rounds=2, platform="cpu", seconds=None, broken=None):
    log, workers, said = [], [], []

    def open_worker(cache, side):
        workers.append(FakeWorker(seconds or Clocks(), broken or {}, log))
        return workers[-1]

    made = measure.Settings(
        tuple(against), rounds, platform, said.append, lambda text: None, open_worker
    )
    return made, log, workers, said


def test_rounds_alternate_in_order():
    order = []
    runs = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    found = measure.interleave(runs, 3, lambda name, error: None)
    assert "".join(order) == "abccbaabc"
    assert found == dict.fromkeys("abc", (1.0, 1.0, 1.0))


def test_one_that_fails_leaves_the_rounds():
    def broken():
        raise UserError("no memory")

    told = []
    found = measure.interleave(
        {"a": lambda: 1.0, "b": broken}, 2, lambda *told_of: told.append(told_of)
    )
    assert found == {"a": (1.0, 1.0)}
    assert [(name, str(error)) for name, error in told] == [("b", "no memory")]


def test_ratio_is_of_pairs():
    """What slows a whole round down does not show."""
    assert measure.ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == (0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_spread_is_numpys(count):
    values = np.random.default_rng(count).random(count).tolist()
    expected = [*np.percentile(values, [50, 0, 25, 75])]
    np.testing.assert_allclose(measure.spread(values), expected)


def test_network_is_prepared_cold_then_warm_in_new_processes():
    made, log, workers, said = settings()
    row = measure.network(NETWORK, made, None)
    assert list(row.sides) == ["ours", "flax"]
    assert row.counts == "counts"
    assert row.gflops == 10.0
    for side in row.sides.values():
        assert side.first.compile_seconds == 1.0
        assert side.again.compile_seconds == 0.5
        assert side.seconds == (1.0, 1.0)
        assert side.peak_bytes == 7
    assert len(workers) == 4
    assert not any(worker.alive for worker in workers)
    assert not said
    # Nothing runs in a process that compiles with an empty cache: its memory is the compiler's.
    assert log[: log.index(("ours", "start"))] == [
        ("ours", "prepare", None),
        ("ours", "count"),
        ("flax", "prepare", None),
        ("ours", "prepare", Prepared(compile_seconds=1.0)),
    ]


def test_memory_is_read_before_the_products_come():
    made, log, _, _ = settings()
    measure.network(NETWORK, made, None)
    assert log.index(("ours", "peak_bytes")) < log.index(("products", "prepare", None))


def test_short_steps_are_repeated_within_a_round():
    """As the second look says, which is not a single step's; a turn's first step is not counted."""
    seconds = Clocks({"ours": iter([0.5, 0.04, 9.0, 0.04, 9.0, 0.04])})
    made, log, _, _ = settings(seconds=seconds)
    row = measure.network(NETWORK, made, None)
    assert [call[2] for call in log if call[:2] == ("ours", "run")] == [1, 2, 1, 25, 1, 25]
    assert row.sides["ours"].seconds == (0.04, 0.04)
    assert row.sides["ours"].steps_per_round == 25
    assert row.sides["flax"].steps_per_round == 1


@pytest.mark.parametrize("method", ["prepare", "start", "run"])
def test_another_side_that_fails_is_one_line(method):
    made, _, _, said = settings(("torch", "flax"), broken={("torch", method): "not today"})
    row = measure.network(NETWORK, made, None)
    assert list(row.sides) == ["ours", "flax"]
    assert said == ["resnet_test train, batch 4 at 32 px (torch): not today"]


def test_our_side_that_fails_costs_the_row_and_the_next_comes():
    made, _, workers, said = settings(broken={("ours", "start"): "too large"})
    found = list(measure.rows([NETWORK, parse("conv:1x8x8x4,k3")], made, None))
    assert not found
    assert said == [
        "resnet_test train, batch 4 at 32 px: too large",
        "conv:1x8x8x4,k3 forward: too large",
    ]
    assert not any(worker.alive for worker in workers)


def test_operations_share_processes_and_a_dead_one_is_replaced():
    made, _, workers, _ = settings()
    one = parse("conv:1x8x8x4,k3")
    with measure.Team(made, "") as team:
        for part in one.parts:
            row = measure.operation(one._replace(part=part), team)
            assert list(row.sides) == ["ours", "flax"]
            assert row.sides["ours"].again is None
        assert len(workers) == 2
        workers[1].alive = False
        measure.operation(one, team)
        assert len(workers) == 3


def test_on_an_accelerator_the_jax_sides_share_a_process_and_memory_is_measured_alone():
    made, log, workers, _ = settings(("flax", "torch"), platform="tpu")
    measure.network(NETWORK, made, None)
    assert len(workers) == 3 + 2
    assert set(workers[3].open_names) == {"ours", "flax", "products"}
    assert log[:4] == [
        ("ours", "prepare", None),
        ("ours", "count"),
        ("ours", "start"),
        ("ours", "peak_bytes"),
    ]


def test_a_trace_is_of_our_side(tmp_path):
    made, log, _, _ = settings()
    (row,) = measure.rows([NETWORK], made, tmp_path)
    assert row.costs == ["costs"]
    calls = [call for call in log if call[1] == "profile"]
    assert calls == [("ours", "profile", str(tmp_path / "resnet_test-train"), 3)]
