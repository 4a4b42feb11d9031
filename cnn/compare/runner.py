"""Carries out the trainings of a comparison; what is done is left alone, what was cut goes on.

The runs of a model follow each other in one process, where they share what is compiled.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from cnn import allocator, experiment, train
from cnn.compare import measure
from cnn.compare.budget import Group
from cnn.compare.settings import Comparison
from cnn.errors import UserError
from cnn.experiment import Experiment
from cnn.report import files

TRAIN_LOG = "train.log"


class Job(NamedTuple):
    """What a process needs to carry out groups.

    Attributes:
        comparison: What is compared.
        workdir: Of the comparison.
        begin: Called once in each process before anything else.
        carry_out: (experiment, workdir of the run) -> as `cnn.cli.train.carry_out`.
        note: Told of each run that is done, in one line.
    """

    comparison: Comparison
    workdir: pathlib.Path
    begin: Callable[[], None]
    carry_out: Callable[[Experiment, pathlib.Path], train.Outcome | None]
    note: Callable[[str], None]


def check_lengths(job: Job, groups: Sequence[Group]) -> None:
    """Refuses runs of another budget, whose schedule was another one.

    Raises:
        UserError: With the first such run.
    """
    for group in groups:
        for seed in job.comparison.seeds:
            directory = job.workdir / group.run(seed)
            config = files.read_json(directory / "config.json")
            if config is None or not (directory / train.CHECKPOINTS).is_dir():
                continue
            before = config["train"]["num_steps"]
            if before != group.num_steps:
                raise UserError(
                    f"{directory} holds a run of {before:,} steps, and compare.budget gives "
                    f"{group.model} {group.num_steps:,}; use another --workdir"
                )


def run_group(job: Job, group: Group) -> int:
    """All runs of a group, and their measurements.

    Returns:
        0, or 128 + n when signal n stopped a training.

    Raises:
        UserError: As `cnn.train.train`.
    """
    robustness = job.comparison.robustness
    missing = [
        seed
        for seed in job.comparison.seeds
        if not measure.is_measured(job.workdir / group.run(seed), group.num_steps, robustness)
    ]
    costs = job.workdir / group.folder / measure.COSTS
    if not missing and costs.exists():
        return 0
    built = experiment.build(group.config)
    for seed in missing or job.comparison.seeds[:1]:
        directory = job.workdir / group.run(seed)
        directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        one = built.with_seed(seed)
        with (directory / TRAIN_LOG).open("a") as log, contextlib.redirect_stdout(log):
            outcome = job.carry_out(one, directory)
        if outcome is not None and outcome.signal is not None:
            return 128 + outcome.signal
        state = _restored(one, directory) if outcome is None else outcome.state
        if not costs.exists():
            measure.write_json(costs, {"step_bytes": measure.step_bytes(one, state)})
        if seed in missing:
            found = measure.measure_run(
                one, state, group.num_steps, robustness, job.comparison.image_size
            )
            measure.save_measured(directory, found)
            accuracy = (found.predictions.predicted == found.predictions.label).mean()
            share = "" if group.fraction == 1 else f" on {group.fraction:.4g} of the data"
            job.note(
                f"{_progress(job)}  {group.model}{share}, seed {seed}: accuracy {accuracy:.4f}, "
                f"{group.num_steps:,} steps, {time.monotonic() - began:.1f} s"
            )
    return 0


def _restored(built: Experiment, directory: pathlib.Path) -> Any:
    carry = train.blank_carry(built)
    with train.open_checkpoints(built, directory, lambda _: None) as checkpoints:
        return train.restore(built, checkpoints, carry)[1].state


def _progress(job: Job) -> str:
    """How many runs are done, of this comparison or others in the same workdir."""
    done = sum(1 for _ in (job.workdir / "runs").glob(f"*/*/*/{measure.MEASURED}"))
    return f"{done:3} done"


def run_groups(job: Job, groups: Sequence[Group], *, processes: int) -> int:
    """All groups, the most expensive first.

    Args:
        job: What to do.
        groups: On what.
        processes: How many groups at a time, each in a process with its share of the CPU's cores; 1
            stays in this process.

    Returns:
        As `run_group`, of the first that was stopped.

    Raises:
        UserError: Where a run raised one; the others are stopped then, with a checkpoint each.
    """
    order = sorted(groups, key=lambda group: -group.num_steps * group.step_macs)
    if processes == 1:
        job.begin()
        return next((code for group in order if (code := run_group(job, group))), 0)
    context = multiprocessing.get_context("spawn")
    begin = (context.Value("i", 0), min(processes, len(order)), job.begin)
    with contextlib.ExitStack() as stack:
        pool = concurrent.futures.ProcessPoolExecutor(
            begin[1], mp_context=context, initializer=_begin, initargs=begin
        )
        stack.callback(pool.shutdown, cancel_futures=True)
        stopped = stack.enter_context(_forwarding(pool))
        with allocator.huge_pages_for_children():
            futures = [pool.submit(_work, job, group) for group in order]
        return _results(futures, stopped)


def _results(futures: Sequence[concurrent.futures.Future[int]], stopped: list[int]) -> int:
    try:
        for future in concurrent.futures.as_completed(futures):
            code = 0 if future.cancelled() else future.result()
            if code and not stopped:
                # One alone was told to stop.
                _stop_all(futures)
                return code
    except BrokenProcessPool as error:
        if not stopped:
            raise UserError(
                "a process of the comparison ended, most likely for lack of memory; the same "
                "command goes on, with fewer --processes"
            ) from error
    except UserError:
        _stop_all(futures)
        raise
    return 128 + stopped[0] if stopped else 0


def _stop_all(futures: Sequence[concurrent.futures.Future[int]]) -> None:
    for future in futures:
        future.cancel()
    for child in multiprocessing.active_children():
        child.terminate()


@contextlib.contextmanager
def _forwarding(pool: concurrent.futures.ProcessPoolExecutor) -> Iterator[list[int]]:
    """Passes SIGINT and SIGTERM on as one SIGTERM each process; yields those that came."""
    came: list[int] = []

    def on_signal(number: int, _: types.FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            os._exit(128 + number)
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ended = threading.Event()
"""In a child: it was stopped, and starts nothing more."""

_working = threading.Event()
"""In a child: it is at a group."""


def _begin(counter: Any, count: int, begin: Callable[[], None]) -> None:
    """Of a child, before JAX is started there: its share of the cores."""
    # Ctrl-C of a terminal reaches the parent alone, which tells each child once.
    os.setpgrp()
    with counter.get_lock():
        index, counter.value = counter.value, counter.value + 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[index % len(cores) :: count])
    # A child that died of the signal would break the pool, which then sends the others a second
    # one: that ends a training at once, without a checkpoint. A training has its own handler.
    signal.signal(signal.SIGTERM, _on_sigterm)
    threading.Thread(target=_follow_parent, daemon=True).start()
    begin()


def _on_sigterm(number: int, _: types.FrameType | None) -> None:
    _ended.set()
    if _working.is_set():
        raise SystemExit(128 + number)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    _ended.set()
    if not _working.is_set():
        os._exit(128 + signal.SIGTERM)
    # A training saves a checkpoint first.
    os.kill(os.getpid(), signal.SIGTERM)


def _work(job: Job, group: Group) -> int:
    _working.set()
    try:
        code = 0 if _ended.is_set() else run_group(job, group)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        _working.clear()
    if code:
        _ended.set()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(code)
    return code
