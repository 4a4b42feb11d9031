"""Time of the training loop's step by that of the bare compiled step, logging on.

python experiments/benchmarks/trainer.py --steps=4000 --ready

Trains lenet5 on digits as `cnn train` does, with a line of the log every 50 steps. Behind every
line the loop is held, and the same compiled step is called as many times on one batch that lies on
the devices: no feed, no log, no clock. So both sides see the same machine. Printed are medians over
pairs of neighbours of (loop / bare), with quartiles: of the time, and of the processor time of the
whole process, which others on the machine hardly change. Any value of the config can be set.

Batches are made by the loop's own pipeline, which on a CPU takes time from the step; with --ready
they are there, and are put on the devices one after another.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cnn import experiment as experiments
from cnn import train
from cnn.cli import config_file, workdir
from cnn.feed import HostFeed
from cnn.report.console import Console

LOG_EVERY = 50
# The first segments warm caches and the clock of the processor.
SKIPPED = 2


def clocks() -> np.ndarray:
    """Seconds on the wall and of all processors in this process."""
    return np.array([time.perf_counter(), time.process_time()])


class Held:
    """A feed that holds the loop at the end of a segment while the bare step has its turn."""

    def __init__(self, feed: Any, bare: Bare, segment: int) -> None:
        self._feed = feed
        self._bare = bare
        self._segment = segment
        self._taken = 0
        self._began = clocks()
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.shared = feed.shared

    @property
    def waited(self) -> float:
        """As the feed."""
        return self._feed.waited

    def take(self, limit: int, last: Any) -> tuple[Any, int]:
        """As the feed, but at the end of a segment not before the bare step's turn."""
        if self._taken % self._segment == 0:
            jax.block_until_ready(last)
            seconds = clocks() - self._began
            if self._taken:
                self.pairs.append((seconds, self._bare(self._segment)))
            self._began = clocks()
        block, count = self._feed.take(limit, last)
        self._taken += count
        return block, count

    def close(self) -> None:
        """As the feed."""
        self._feed.close()


class Bare:
    """The compiled step alone, on one batch."""

    def __init__(self, experiment: experiments.Experiment) -> None:
        self._step = train.make_step(experiment.task, experiment.strategy, experiment.resident)
        self._state, self._tally = train.blank_carry(experiment)
        self._key = experiment.strategy.share(jax.random.key(1))
        feed = experiments.Experiment.feed(experiment, 0)
        self._block, self._count = feed.take(1, self._tally)
        self._shared = feed.shared
        feed.close()
        self(2)

    def __call__(self, steps: int) -> np.ndarray:
        """The seconds of so many steps, by both clocks."""
        began = clocks()
        for _ in range(steps // self._count):
            self._state, self._tally = self._step(
                self._state, self._tally, self._block, self._key, *self._shared
            )
        jax.block_until_ready(self._state)
        return clocks() - began


class Interleaved(experiments.Experiment):
    """An experiment whose feed holds the loop."""

    held: Held
    ready: bool

    def feed(self, start_step: int) -> Any:
        """The feed, held."""
        bare = Bare(self)
        feed = _ready(self) if self.ready else super().feed(start_step)
        type(self).held = Held(feed, bare, LOG_EVERY)
        return self.held


def _ready(experiment: experiments.Experiment) -> HostFeed:
    """The loop's feed over batches that need no work."""
    batches = experiment.train_batches(0)
    kept = [next(batches) for _ in range(20)]
    batches.close()

    def cycle() -> Iterator[Any]:
        yield from itertools.cycle(kept)

    return HostFeed(cycle(), experiment.strategy, experiment.for_step)


def main() -> None:
    """Trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", default="configs/mnist5k/lenet5.py")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--ready", action="store_true")
    args, overrides = parser.parse_known_args()
    lengths = [
        f"--config.train.num_steps={args.steps}",
        f"--config.train.log_every_steps={LOG_EVERY}",
        f"--config.train.eval_every_steps={args.steps}",
        f"--config.train.checkpoint_every_steps={args.steps}",
    ]
    config = config_file.read(args.config, [*overrides, *lengths])
    workdir.start_jax()
    experiment = Interleaved(*experiments.build(config))
    Interleaved.ready = args.ready
    console = Console(args.steps, experiment.steps_per_epoch, log_every_steps=LOG_EVERY)
    with tempfile.TemporaryDirectory() as directory, console:
        train.train(experiment, pathlib.Path(directory), console)
    report(np.array(experiment.held.pairs[SKIPPED:]))


def report(pairs: np.ndarray) -> None:
    """Prints what pairs of (loop, bare) say, each by both clocks."""
    for clock, name in enumerate(("time", "processor time")):
        loop, bare = 1e3 * np.median(pairs[:, :, clock], axis=0) / LOG_EVERY
        low, middle, high = np.quantile(pairs[:, 0, clock] / pairs[:, 1, clock], (0.25, 0.5, 0.75))
        sys.stdout.write(
            f"{name}: {loop:.3f} ms a step in the loop, {bare:.3f} bare; loop / bare {middle:.4f} "
            f"(quartiles {low:.4f} to {high:.4f}, {len(pairs)} pairs of {LOG_EVERY} steps)\n"
        )


if __name__ == "__main__":
    main()
