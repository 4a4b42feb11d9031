"""Runs the sides of a row in turns and gathers what they say."""

from __future__ import annotations

import contextlib
import math
import pathlib
import statistics
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn.benchmark.job import Job, Network, Operation, Prepared, Products
from cnn.benchmark.worker import Worker
from cnn.errors import UserError

OURS = "ours"
PRODUCTS = "products"
# A shorter measurement of an operation would be of the clock and the scheduler; one of a network
# that takes turns with another would be of how long both take to come back.
OPERATION_SECONDS, NETWORK_SECONDS = 0.1, 1.0
PROFILED_STEPS = 3

OpenWorker = Callable[[str, str], Worker]
Say = Callable[[str], None]


class Settings(NamedTuple):
    """How to measure.

    Attributes:
        against: The sides besides ours.
        rounds: Measurements of each side.
        platform: What JAX computes on.
        complain: Told in a line of what could not be measured.
        note: Told in a line of what is measured next.
        open_worker: Starts a process whose compiled programs are kept in a directory, for a side.
    """

    against: Sequence[str]
    rounds: int
    platform: str
    complain: Say
    note: Say
    open_worker: OpenWorker = Worker


class Measured(NamedTuple):
    """One side of a row.

    Attributes:
        seconds: Of one step, of each round.
        steps_per_round: How many steps each of those is the mean of.
        first: What it said in a process with no compiled programs.
        again: What it said in one that found them; None where there was only one.
        peak_bytes: Memory of a step; None if unknown.
    """

    seconds: tuple[float, ...]
    steps_per_round: int
    first: Prepared
    again: Prepared | None
    peak_bytes: int | None


class Row(NamedTuple):
    """A job and its sides.

    Attributes:
        job: What was measured.
        sides: By name, ours first; without those that failed.
        gflops: Of matrix products in the same rounds, in thousands of millions of operations a
            second.
        counts: A network's `Counts`.
        costs: The costliest operations of our side, where a trace was asked for.
    """

    job: Network | Operation
    sides: Mapping[str, Measured]
    gflops: float
    counts: Any = None
    costs: Sequence[Any] = ()


class Spread(NamedTuple):
    """Median, minimum and quartiles of some numbers."""

    median: float
    minimum: float
    lower: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """The numbers in short; quartiles between neighbours, as NumPy's."""
    if len(values) == 1:
        return Spread(*(values[0],) * 4)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, min(values), lower, upper)


def ratio(ours: Sequence[float], other: Sequence[float]) -> Spread:
    """Our time by the other's, pair by pair: what slows both of a round down cancels out."""
    return spread([a / b for a, b in zip(ours, other, strict=True)])


def interleave(
    runs: Mapping[str, Callable[[], float]], rounds: int, fail: Callable[[str, UserError], None]
) -> dict[str, tuple[float, ...]]:
    """Each round calls every function once, every other round backwards.

    Args:
        runs: By name; each returns what it measured.
        rounds: How many.
        fail: Told of one that raises; the others go on without it.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(found) if number % 2 == 0 else list(reversed(found)):
            try:
                found[name].append(runs[name]())
            except UserError as error:
                del found[name]
                fail(name, error)
    return {name: tuple(values) for name, values in found.items()}


def rows(
    jobs: Iterable[Network | Operation], settings: Settings, trace: pathlib.Path | None
) -> Iterator[Row]:
    """The row of each job that our side can run; of the others a line is said.

    Args:
        jobs: What to measure.
        settings: How.
        trace: Where to leave traces of our side of networks; None means none.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cnn-benchmark-") as cache,
        Team(settings, cache) as team,
    ):
        for job in jobs:
            settings.note(f"measuring {job}")
            try:
                if isinstance(job, Network):
                    place = None if trace is None else trace / f"{job.model}-{job.mode}"
                    yield network(job, settings, place)
                else:
                    yield operation(job, team)
            except UserError as error:
                settings.complain(f"{job}: {error}")


def network(job: Network, settings: Settings, trace: pathlib.Path | None) -> Row:
    """A step of a network by all sides.

    Each side is first prepared in a process of its own, with an empty cache of programs; then once
    more for the rounds, from what was kept.

    Args:
        job: Which network, and how.
        settings: How to measure.
        trace: Where to leave a trace of our side; None means no trace.

    Raises:
        UserError: If our side cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="cnn-benchmark-") as cache:
        first: dict[str, Prepared] = {}
        peaks: dict[str, int | None] = {}
        counts = None
        for side in (OURS, *settings.against):
            with _others_may_fail(side, job, settings), settings.open_worker(cache, side) as worker:
                worker.open(side, side, job)
                first[side] = worker.call(side, "prepare", None)
                if side == OURS:
                    counts = worker.call(side, "count")
                if settings.platform != "cpu":
                    # A device's peak cannot be reset, so it is measured where it is alone.
                    worker.call(side, "start")
                    peaks[side] = worker.call(side, "peak_bytes")
        with Team(settings, cache) as team:
            row = _rounds(job, first, team, trace)
    sides = {
        side: one._replace(peak_bytes=peaks.get(side, one.peak_bytes))
        for side, one in row.sides.items()
    }
    return row._replace(sides=sides, counts=counts)


def operation(job: Operation, team: Team) -> Row:
    """An operation by all sides.

    Raises:
        UserError: If our side cannot run.
    """
    return _rounds(job, dict.fromkeys((OURS, *team.settings.against)), team, None)


class Team:
    """The processes of all sides; a context manager, at whose end they end.

    Only one process can have a TPU, so there flax shares ours; on a CPU each side has its own,
    whose memory is then its alone.
    """

    def __init__(self, settings: Settings, cache: str) -> None:
        self.settings = settings
        self._cache = cache
        self._workers: dict[str, Worker] = {}
        self._stack = contextlib.ExitStack()

    def worker(self, side: str) -> Worker:
        """The process of a side; a new one where there is none or it has ended."""
        alone = side == "torch" or self.settings.platform == "cpu"
        name = side if alone else OURS
        if name not in self._workers or not self._workers[name].is_alive():
            opened = self.settings.open_worker(self._cache, side)
            self._workers[name] = self._stack.enter_context(opened)
        return self._workers[name]

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _rounds(
    job: Network | Operation,
    first: Mapping[str, Prepared | None],
    team: Team,
    trace: pathlib.Path | None,
) -> Row:
    again: dict[str, Prepared] = {}
    runs: dict[str, Callable[[], float]] = {}
    repeats: dict[str, int] = {}
    peaks: dict[str, int | None] = {}

    def start(name: str, worker: Worker, one: Job) -> None:
        worker.open(name, name, one)
        again[name] = worker.call(name, "prepare", first.get(name))
        worker.call(name, "start")
        least = NETWORK_SECONDS if isinstance(one, Network) else OPERATION_SECONDS
        repeats[name] = _repeats(lambda count: worker.call(name, "run", count), least)
        # Before the matrices of the products come into the same process.
        peaks[name] = worker.call(name, "peak_bytes")
        runs[name] = lambda: _turn(worker, name, repeats[name])

    for side in first:
        with _others_may_fail(side, job, team.settings):
            start(side, team.worker(side), job)
    ours = team.worker(OURS)
    start(PRODUCTS, ours, Products(job.dtype))

    def fail(name: str, error: UserError) -> None:
        if name in (OURS, PRODUCTS) or team.worker(name) is ours:
            raise error
        team.settings.complain(f"{job} ({name}): {error}")

    seconds = interleave(runs, team.settings.rounds, fail)
    products = statistics.median(seconds.pop(PRODUCTS))
    sides = {
        side: Measured(
            seconds=values,
            steps_per_round=repeats[side],
            first=first[side] or again[side],
            again=again[side] if first[side] is not None else None,
            peak_bytes=peaks[side],
        )
        for side, values in seconds.items()
    }
    return Row(
        job,
        sides,
        gflops=ours.call(PRODUCTS, "gflop") / products,
        costs=() if trace is None else ours.call(OURS, "profile", str(trace), PROFILED_STEPS),
    )


def _turn(worker: Worker, name: str, repeats: int) -> float:
    """Seconds of a step in the middle of a training, as far as the turns of others allow.

    The first step finds their data in the caches, and on a virtual machine takes back the memory
    that the system has lent elsewhere meanwhile: up to half more time, and only of the side that
    gives its memory back after a step. It is not counted.
    """
    worker.call(name, "run", 1)
    return worker.call(name, "run", repeats)


@contextlib.contextmanager
def _others_may_fail(side: str, job: Network | Operation, settings: Settings) -> Iterator[None]:
    """Without our side there is no row; without another there is a line."""
    try:
        yield
    except UserError as error:
        if side == OURS:
            raise
        settings.complain(f"{job} ({side}): {error}")


def _repeats(run: Callable[[int], float], least: float) -> int:
    """How many steps fill so many seconds; asked twice, since a short one may be disturbed."""
    count = 1
    for _ in range(2):
        count = max(count, min(1000, math.ceil(least / run(count))))
        if count == 1:
            break
    return count
