"""Work done ahead of its use, in order, by threads of this process or by other processes."""

from __future__ import annotations

import collections
import contextlib
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
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple

import numpy as np

from cnn.data.faults import LOG, Faults
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
    """A result or the user's mistake, and the faults that were met since the last time."""

    result: Arrays | UserError
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
    # Spawned, since a fork of a process with JAX's threads may hang. Not grain's processes, which
    # need absl's flags and leave shared memory to finalizers that fail at the end of the program.
    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _begin_worker, (_pickled(attempt),)
    )
    pending: collections.deque[Future[_Done]] = collections.deque()
    try:
        for step in steps:
            pending.append(executor.submit(_attempt_in_worker, step))
            if len(pending) < 2 * num_workers:
                continue
            yield _received(pending.popleft(), faults)
        while pending:
            yield _received(pending.popleft(), faults)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process of the loader died, often since memory (or /dev/shm) ran out; use "
            "fewer (loader.num_workers) or none (0)"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
        for future in pending:
            if not future.cancelled() and future.exception() is None:
                _unpacked(future.result().result)


def _pickled(attempt: _Attempt) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(attempt)
    except (pickle.PicklingError, TypeError) as error:
        raise UserError(
            f"the data cannot be handed to worker processes ({error}); set loader.num_workers=0"
        ) from error


def _received(future: Future[_Done], faults: Faults | None) -> Arrays:
    done = future.result()
    result = _unpacked(done.result)
    if faults is not None:
        for index, error in done.faults.items():
            faults.note(index, error)
    if isinstance(result, UserError):
        raise result
    return result


_in_worker: _Attempt | None = None
"""In a worker, what it does; None elsewhere."""


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


def _attempt_in_worker(step: int) -> _Done:
    assert _in_worker is not None
    done = _in_worker(step)
    return done._replace(result=_packed(done.result))  # type: ignore[arg-type]


class _Packed(NamedTuple):
    """Arrays in shared memory, one behind the other: through a pipe they would take five times."""

    name: str
    specs: dict[str, tuple[tuple[int, ...], str]]


def _packed(result: Arrays | UserError) -> _Packed | UserError:
    if isinstance(result, UserError):
        return result
    memory = SharedMemory(create=True, size=sum(array.nbytes for array in result.values()))
    start = 0
    for array in result.values():
        np.ndarray(array.shape, array.dtype, memory.buf, start)[...] = array
        start += array.nbytes
    memory.close()
    return _Packed(memory.name, {k: (a.shape, a.dtype.str) for k, a in result.items()})


def _unpacked(packed: Any) -> Arrays | UserError:
    """The arrays, copied, so that the shared memory is free again."""
    if isinstance(packed, UserError):
        return packed
    memory = SharedMemory(packed.name)
    arrays, start = {}, 0
    for name, (shape, dtype) in packed.specs.items():
        arrays[name] = np.ndarray(shape, dtype, memory.buf, start).copy()
        start += arrays[name].nbytes
    memory.close()
    # A broken pool's end takes what its workers left along.
    with contextlib.suppress(FileNotFoundError):
        memory.unlink()
    return arrays
