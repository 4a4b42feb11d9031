"""What the loop feeds to the devices: batches of the host, or where to find them on the devices."""

from __future__ import annotations

import concurrent.futures
import functools
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from cnn import data
from cnn.parallel import HostBatch, Strategy
from cnn.resident import Block, Resident, augment_key, load


@runtime_checkable
class Feed(Protocol):
    """The input of one call of the devices after another.

    Attributes:
        waited: Seconds in which the devices had nothing to do since data were not there.
        shared: What every call gets besides, laid out.
    """

    waited: float
    shared: tuple[Any, ...]

    def take(self, limit: int, last: Any) -> tuple[Any, int]:
        """The next input, laid out, and of how many steps it is.

        Args:
            limit: The most steps.
            last: An output of the call before, which may be still under way.
        """
        ...

    def close(self) -> None:
        """Ends what reads ahead."""
        ...


class HostFeed:
    """A batch a call, put on the devices while they are at the one before."""

    shared = ()

    def __init__(
        self,
        batches: Generator[HostBatch, None, None],
        strategy: Strategy,
        prepare: Callable[[HostBatch], HostBatch] = lambda batch: batch,
    ) -> None:
        self._batches = batches
        self._prepare = prepare
        self._put = strategy.put
        self._before: Any = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._next = self._thread.submit(self._load)
        self.waited = 0.0

    def _load(self) -> Any:
        return self._put(self._prepare(next(self._batches)))

    def take(self, limit: int, last: Any) -> tuple[Any, int]:
        """The next batch; one step."""
        del limit
        # Batches of calls that have not begun take memory: one is enough.
        jax.block_until_ready(self._before)
        self._before = last
        if not self._next.done():
            # While the devices are busy, nothing waits for data.
            jax.block_until_ready(last)
            began = time.monotonic()
            concurrent.futures.wait([self._next])
            self.waited += time.monotonic() - began
        batch = self._next.result()
        self._next = self._thread.submit(self._load)
        return batch, 1

    def close(self) -> None:
        """Ends what reads ahead."""
        self._next.cancel()
        self._thread.shutdown()
        self._batches.close()


class ResidentFeed:
    """Where the examples of the next steps are; they themselves are on the devices."""

    def __init__(
        self,
        resident: Resident,
        source: data.Source,
        strategy: Strategy,
        *,
        preprocess: data.Preprocess,
        seed: int,
        batch_size: int,
        start_step: int,
        num_threads: int,
    ) -> None:
        """Reads all examples and puts them on the devices.

        Raises:
            UserError: As `cnn.resident.load`.
        """
        self._steps_per_dispatch = resident.steps_per_dispatch
        self._steps_per_epoch = data.steps_per_epoch(len(source), batch_size)
        self._batch_size = batch_size
        self._alternate_flips = resident.alternate_flips
        self._part = data.Host(*strategy.host).slice_of(batch_size)
        self._put = strategy.put
        self._step = start_step
        self._before: Any = None
        self.waited = 0.0
        examples = load(source, preprocess, resident.max_bytes, num_threads)
        self.shared = (strategy.share(examples), strategy.share(augment_key(seed)))

        # A call may reach over the end of an epoch.
        @functools.lru_cache(maxsize=2)
        def epoch(number: int) -> tuple[np.ndarray, np.ndarray]:
            order = data.drawn_order(source, seed, number)
            return order, data.alternating_flip(seed, number, len(source))[order]

        self._epoch = epoch

    def take(self, limit: int, last: Any) -> tuple[Any, int]:
        """The places of the examples of the next steps, as many as may be."""
        jax.block_until_ready(self._before)
        self._before = last
        count = min(limit, self._steps_per_dispatch)
        steps = [self._places(self._step + i) for i in range(count)]
        # One shape for any number of steps, so that there is one program.
        steps += [{name: np.full_like(x, -1) for name, x in steps[0].items()}] * (
            self._steps_per_dispatch - count
        )
        self._step += count
        block = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
        return self._put(block), count

    def _places(self, step: int) -> Block:
        """That of one step: `index`, `position` and `epoch`, and `flip` where it is needed."""
        epoch, batch = divmod(step, self._steps_per_epoch)
        order, flips = self._epoch(epoch)
        position = np.arange(batch * self._batch_size, (batch + 1) * self._batch_size)[self._part]
        places = {"index": order[position], "position": position, "epoch": 0 * position + epoch}
        if self._alternate_flips:
            places["flip"] = flips[position]
        return {name: x.astype(np.int32) for name, x in places.items()}

    def close(self) -> None:
        """Nothing is read ahead."""
