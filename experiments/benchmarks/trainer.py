"""Time of the training loop's step by that of the bare compiled step, logging on.

python experiments/benchmarks/trainer.py --steps=2000 --config.resident.enabled=True

Trains lenet5 on digits as `cnn train` does, with a line of the log every 50 steps. Behind every
second line the loop is held, and the same compiled step is called as many times on one batch that
lies on the devices: no feed, no log, no clock. So both sides see the same machine. Printed is the
median over pairs of neighbours of (loop / bare), with quartiles. Any value of the config can be
set. The batches of the loop are made by its own pipeline, which on a CPU takes time from the step;
--ready gives it batches that are there.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax

from cnn import experiment as experiments
from cnn import train
from cnn.cli import config_file, workdir
from cnn.feed import HostFeed
from cnn.report.console import Console

LOG_EVERY = 50
# The first segments warm caches and the clock of the processor.
SKIPPED = 2


class Held:
    """A feed that holds the loop at the end of a segment while the bare step has its turn."""

    def __init__(self, feed: Any, bare: Bare, segment: int) -> None:
        self._feed = feed
        self._bare = bare
        self._segment = segment
        self._taken = 0
        self._began = 0.0
        self.pairs: list[tuple[float, float]] = []
        self.shared = feed.shared

    @property
    def waited(self) -> float:
        """As the feed."""
        return self._feed.waited

    def take(self, limit: int, last: Any) -> tuple[Any, int]:
        """As the feed, but at the end of a segment not before the bare step's turn."""
        if self._taken % self._segment == 0:
            jax.block_until_ready(last)
            now = time.perf_counter()
            if self._taken:
                self.pairs.append((now - self._began, self._bare(self._segment)))
            self._began = time.perf_counter()
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

    def __call__(self, steps: int) -> float:
        """The seconds of so many steps."""
        began = time.perf_counter()
        for _ in range(steps // self._count):
            self._state, self._tally = self._step(
                self._state, self._tally, self._block, self._key, *self._shared
            )
        jax.block_until_ready(self._state)
        return time.perf_counter() - began


class Interleaved(experiments.Experiment):
    """An experiment whose feed holds the loop."""

    held: Held
    ready: bool

    def feed(self, start_step: int) -> Any:
        """The feed, held."""
        bare = Bare(self)
        feed = _ready(self) if self.ready else super().feed(start_step)
        type(self).held = Held(feed, bare, 2 * LOG_EVERY)
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
    pairs = experiment.held.pairs[SKIPPED:]
    low, middle, high = statistics.quantiles([loop / bare for loop, bare in pairs], n=4)
    segment = 2 * LOG_EVERY
    for name, index in (("loop", 0), ("bare", 1)):
        seconds = statistics.median(pair[index] for pair in pairs) / segment
        sys.stdout.write(f"{name}: {1e3 * seconds:.3f} ms a step\n")
    sys.stdout.write(
        f"loop / bare: {middle:.4f} (quartiles {low:.4f} to {high:.4f}), {len(pairs)} pairs of "
        f"{segment} steps, batch {config['loader']['batch_size']}, {config['model']['name']}\n"
    )


if __name__ == "__main__":
    main()
