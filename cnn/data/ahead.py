"""Work done ahead of its use, in order, by threads of this process or by other processes."""

from __future__ import annotations

import collections
import functools
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np

from cnn.data.faults import LOG, Faults
from cnn.data.handover import Packed, Receiver, Sender
from cnn.errors import UserError

Arrays = dict[str, np.ndarray]
Load = Callable[[int], Arrays]


def read_ahead(
    make_load: Callable[[], Load],
    steps: range,
    *,
    num_threads: int,
    num_workers: int = 0,
    faults: Faults | None = None,
) -> Generator[Arrays, None, None]:
    """`load(step)` for each step, in order; `close()` ends threads and processes.

    Args:
        make_load: Returns `load`, a pure function of the step. Each process calls it for itself.
            For workers it is pickled by cloudpickle, with all that it holds.
        steps: What to load.
        num_threads: Threads, which begin at once; 0 loads when asked. Read where there are no
            workers.
        num_workers: Processes, which begin when the first result is asked for; 0 is none.
        faults: Those that `load` notes. What workers note in their copies is noted here too.

    Raises:
        UserError: If a number is negative; from the iterator: what `load` raises, or that a worker
            died.
    """
    for name, value in (("num_threads", num_threads), ("num_workers", num_workers)):
        if value < 0:
            raise UserError(f"loader.{name} must be at least 0, got {value}")
    if num_workers:
        return _by_processes(_Attempt(make_load, faults), steps, num_workers, faults)
    import grain

    # A whole batch is one element: grain's bookkeeping costs 50 us an element, several times what a
    # small image costs.
    attempts = grain.MapDataset.range(steps.start, steps.stop).map(_Attempt(make_load, None))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    iterator = attempts.to_iter_dataset(options).__iter__()
    iterator.start_prefetch()
    return _by_threads(iterator)


class _Done(NamedTuple):
    """A result (packed, from a worker) or the user's mistake, and the faults since the last."""

    result: Any
    faults: dict[int, str]


class _Attempt:
    """Carries a user's mistake as a result: grain would add a line about itself to its text."""

    def __init__(self, make_load: Callable[[], Load], faults: Faults | None) -> None:
        self._make_load = make_load
        self._faults = faults

    @functools.cached_property
    def _load(self) -> Load:
        return self._make_load()

    def __call__(self, step: int) -> _Done:
        """The result of a step, or the mistake in its place."""
        try:
            result = self._load(step)
        except UserError as error:
            result = error
        return _Done(result, {} if self._faults is None else self._faults.take())


def _by_threads(iterator: Any) -> Generator[Arrays, None, None]:
    try:
        for done in iterator:
            if isinstance(done.result, UserError):
                raise done.result
            yield done.result
    finally:
        iterator.close()


def _by_processes(
    attempt: _Attempt, steps: range, num_workers: int, faults: Faults | None
) -> Generator[Arrays, None, None]:
    pool = _Pool(attempt, num_workers, faults)
    try:
        for step in steps:
            pool.submit(step)
            if len(pool) == 2 * num_workers:
                yield pool.receive()
        while len(pool):
            yield pool.receive()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process of the loader died, often since memory (or /dev/shm) ran out; use "
            "fewer (loader.num_workers) or none (0)"
        ) from error
    finally:
        pool.close()


class _Pool:
    """Workers, and what they are at, in order."""

    def __init__(self, attempt: _Attempt, num_workers: int, faults: Faults | None) -> None:
        # Spawned, since a fork of a process with JAX's threads may hang. Not grain's processes,
        # which need absl's flags and leave shared memory to finalizers that fail at the end.
        self._executor = ProcessPoolExecutor(
            num_workers, multiprocessing.get_context("spawn"), _begin_worker, (_pickled(attempt),)
        )
        self._faults = faults
        self._receiver = Receiver()
        self._pending: collections.deque[Future[_Done]] = collections.deque()

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, step: int) -> None:
        """Gives out a step."""
        segment = self._receiver.free_segment()
        self._pending.append(self._executor.submit(_attempt_in_worker, step, segment))

    def receive(self) -> Arrays:
        """The result of the first step that was given out."""
        done = self._pending[0].result()
        if isinstance(done.result, UserError):
            raise done.result
        arrays = self._receiver.unpack(done.result)
        # Not before, so that `close` finds its segment.
        self._pending.popleft()
        if self._faults is not None:
            for index, error in done.faults.items():
                self._faults.note(index, error)
        return arrays

    def close(self) -> None:
        """Ends the workers, after the steps they are at, and frees the memory."""
        self._executor.shutdown(cancel_futures=True)
        for future in self._pending:
            if not future.cancelled() and future.exception() is None:
                left = future.result().result
                if isinstance(left, Packed):
                    self._receiver.drop(left.segment)
        self._receiver.close()


def _pickled(attempt: _Attempt) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(attempt)
    except (pickle.PicklingError, TypeError) as error:
        raise UserError(
            f"the data cannot be handed to worker processes ({error}); set loader.num_workers=0"
        ) from error


_in_worker: _Attempt | None = None
"""In a worker, what it does; None elsewhere."""
_sender = Sender()


def _begin_worker(pickled: bytes) -> None:
    """Leaves signals and warnings to the process that asked, and ends with it."""
    global _in_worker
    # Ctrl-C and a scheduler's SIGTERM reach the whole group, whose first still wants its batches to
    # save a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    LOG.setLevel(logging.ERROR)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _in_worker = pickle.loads(pickled)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Without this, workers of a process that was killed would wait for ever.
        parent.join()
        os._exit(1)


def _attempt_in_worker(step: int, segment: str | None) -> _Done:
    assert _in_worker is not None
    done = _in_worker(step)
    if isinstance(done.result, UserError):
        return done
    return done._replace(result=_sender.pack(done.result, segment))
