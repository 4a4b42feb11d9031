"""The training loop, the same for every task."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int

from cnn import allocator
from cnn.checkpoint import Checkpoints
from cnn.core import Batch, Key, Metrics, Task, compute, merge
from cnn.errors import UserError
from cnn.experiment import Experiment, Loop, call
from cnn.feed import Feed
from cnn.parallel import Strategy, hosts
from cnn.pretrained.initialise import Initial
from cnn.report import sheet
from cnn.report.console import Console
from cnn.report.log import MetricLog
from cnn.resident import Block, Resident

CHECKPOINTS = "checkpoints"
# Runs that differ in their seed alone follow each other in a comparison and share programs, which
# take longer to compile than a small network takes to train. Few, since programs take memory.
_shared = functools.lru_cache(maxsize=4)
_NEVER = np.iinfo(np.int32).max


class Tally(NamedTuple):
    """What was measured since the last log line, and the first step whose loss was not finite."""

    metrics: Metrics
    bad_step: Int[Array, ""]


class Carry(NamedTuple):
    """What a checkpoint holds: enough that a resumed run is the unbroken one, bit for bit."""

    state: Any
    tally: Tally


class Outcome(NamedTuple):
    """How a training ended: its state, laid out; its step; the signal that stopped it, or None."""

    state: Any
    step: int
    signal: int | None


class Stop:
    """Whether the run was asked to stop: by Ctrl-C or SIGTERM, the second of which ends at once.

    Of several processes any may be asked. JAX takes over SIGTERM there, tells the others and finds
    the next point that none has reached yet.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._alone = jax.process_count() == 1
        self._asked = 0

    def now(self) -> bool:
        """Whether to stop here; asked equally often by all processes, each time before a step."""
        if not self._alone:
            self._asked += 1
            if multihost_utils.reached_preemption_sync_point(self._asked):
                self.signal = signal.SIGTERM
        return self.signal is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Takes over both signals for the time of the context."""

        def on_signal(number: int, _: types.FrameType | None) -> None:
            if self.signal is not None:
                os._exit(128 + number)
            self.signal = number

        def on_interrupt(number: int, frame: types.FrameType | None) -> None:
            on_signal(number, frame)
            os.kill(os.getpid(), signal.SIGTERM)

        numbers = (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in before:
            signal.signal(number, on_signal if self._alone else on_interrupt)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@_shared
def make_init(task: Task[Any]) -> Callable[[Key, Batch], Carry]:
    """(key, batch) -> the state before the first step, and an empty tally."""

    def init(key: Key, batch: Batch) -> Carry:
        state = task.init(key, batch)
        metrics = jax.eval_shape(task.step, state, batch, key)[1]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
        return Carry(state, Tally(zeros, jnp.asarray(_NEVER, jnp.int32)))

    return init


def start(task: Task[Any], strategy: Strategy, key: Key, batch: Mapping[str, Any]) -> Carry:
    """The state before the first step, and an empty tally, laid out."""
    return strategy.init(make_init(task), key, strategy.put(batch))


@_shared
def make_step(
    task: Task[Any], strategy: Strategy, resident: Resident | None = None
) -> Callable[..., tuple[Any, Tally]]:
    """(state, tally, batch, key) -> (state, tally) after one step, jitted, the state donated.

    With `resident`, the batch is a block of places for one step or several, and behind the key come
    the examples and the key of the augmentation.
    """

    def step(state: Any, tally: Tally, batch: Batch, key: Key) -> tuple[Any, Tally]:
        new, metrics = task.step(state, batch, jax.random.fold_in(key, state.step))
        metrics = strategy.total(metrics)
        finite = jnp.isfinite(metrics["loss"].compute())
        bad_step = jnp.where(finite, tally.bad_step, jnp.minimum(tally.bad_step, new.step))
        return new, Tally(merge(tally.metrics, metrics), bad_step)

    if resident is None:
        return strategy.step(step)

    def steps(
        state: Any, tally: Tally, block: Block, key: Key, examples: Any, augment_key: Key
    ) -> tuple[Any, Tally]:
        def body(index: Any, carry: tuple[Any, Tally]) -> tuple[Any, Tally]:
            batch = resident.batch(block, index, examples, augment_key)
            return step(*carry, jax.lax.optimization_barrier(batch), key)

        if resident.steps_per_dispatch == 1:
            # Without a loop, in which XLA's convolutions on a CPU have no threads.
            return body(0, (state, tally))
        # The number is not known when this is compiled, so there is one program for all numbers.
        return jax.lax.fori_loop(0, resident.num_steps(block), body, (state, tally))

    return strategy.step(steps)


def make_evaluate(experiment: Experiment) -> Callable[[Any], dict[str, float]]:
    """Laid out state -> metrics of the evaluation split, every example counted once."""
    strategy = experiment.strategy
    evaluate = _make_evaluate_batch(experiment.task, strategy)
    add = jax.jit(merge)

    def run(state: Any) -> dict[str, float]:
        total = None
        for batch in experiment.eval_batches():
            metrics = evaluate(state, strategy.put(batch))
            total = metrics if total is None else add(total, metrics)
        if total is None:
            raise UserError("the evaluation split has no examples")
        return scalars("eval", strategy.fetch(total))

    return run


@_shared
def _make_evaluate_batch(task: Task[Any], strategy: Strategy) -> Callable[..., Metrics]:
    return strategy.evaluate(lambda state, batch: strategy.total(task.evaluate(state, batch)))


def scalars(prefix: str, metrics: Metrics) -> dict[str, float]:
    """The values of fetched metrics, by prefixed name."""
    return {f"{prefix}/{name}": float(value) for name, value in compute(metrics).items()}


def restore(
    experiment: Experiment, checkpoints: Checkpoints, carry: Carry, step: int | None = None
) -> tuple[int, Carry]:
    """The checkpoint of `step`, or the newest whole one, laid out; (0, `carry`) if there is none.

    Raises:
        UserError: As `Checkpoints.restore`.
    """
    found = checkpoints.restore(experiment.strategy.abstract(carry), step)
    if found is None:
        return 0, carry
    return found[0], experiment.strategy.unpack(found[1])


def open_checkpoints(
    experiment: Experiment, workdir: pathlib.Path, note: Callable[[str], None]
) -> Checkpoints:
    """The checkpoints of the run in `workdir`; `note` is told of broken ones."""
    return call(experiment.config, "checkpoint", workdir / CHECKPOINTS, note)


def blank_carry(experiment: Experiment) -> Carry:
    """The state before the first step, for the shapes of a checkpoint."""
    strategy = experiment.strategy
    key = jax.random.split(jax.random.key(experiment.config["seed"]))[0]
    blank = experiment.blank_batch(experiment.config["loader"]["batch_size"] // strategy.host[1])
    return start(experiment.task, strategy, strategy.share(key), blank)


def due(step: int, every_steps: int, num_steps: int) -> bool:
    """Whether something of this cadence happens after `step`; the last step is always due."""
    return step % every_steps == 0 or step == num_steps


def steps_until_due(step: int, loop: Loop) -> int:
    """How many steps after `step` anything is due, or the end comes."""
    cadences = (loop.log_every_steps, loop.eval_every_steps, loop.checkpoint_every_steps)
    return min(loop.num_steps - step, *(every - step % every for every in cadences))


def train(
    experiment: Experiment,
    workdir: pathlib.Path,
    console: Console,
    *,
    initial: Initial | None = None,
    started: float | None = None,
) -> Outcome:
    """Trains from the newest checkpoint in `workdir` to the end, or until a signal.

    Args:
        experiment: The parts.
        workdir: Where checkpoints and the metric log are.
        console: Where progress goes; entered by the caller.
        initial: Values to start from; read only where there is no checkpoint.
        started: `time.monotonic` at the start of the program, to report the time to the first step.

    Raises:
        UserError: If the loss is not finite, data cannot be read, or something cannot be written.
    """
    loop, strategy = experiment.loop, experiment.strategy
    carry = blank_carry(experiment)
    step_key = strategy.share(jax.random.split(jax.random.key(experiment.config["seed"]))[1])
    zeros = carry.tally
    step_fn = make_step(experiment.task, strategy, experiment.resident)
    evaluate = make_evaluate(experiment)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(open_checkpoints(experiment, workdir, console.note))
        step, carry = restore(experiment, checkpoints, carry)
        checkpoints.remove_after(step)
        if step >= loop.num_steps:
            return Outcome(carry.state, step, None)
        if step:
            console.note(f"resuming after step {step} of {loop.num_steps}")
        elif initial is not None:
            carry = carry._replace(state=_started_from(initial, carry.state, strategy))
        log = _open_log(stack, workdir, step)
        stop = stack.enter_context(Stop().listening())
        feed = stack.enter_context(contextlib.closing(experiment.feed(step)))
        recorder = _Recorder(experiment, console, log, feed, step)
        stack.enter_context(jax.transfer_guard("disallow"))
        state, tally = carry
        first, saved_step = True, step
        while step < loop.num_steps and not stop.now():
            block, count = feed.take(steps_until_due(step, loop), tally)
            state, tally = step_fn(state, tally, block, step_key, *feed.shared)
            step += count
            # The line of a step is fetched when the next is under way, so devices never wait.
            recorder.flush()
            if first:
                jax.block_until_ready(state)
                allocator.trim()
                recorder.compiled(step, started)
                first = False
            if due(step, loop.log_every_steps, loop.num_steps):
                recorder.keep(step, tally)
                tally = zeros
            measured = None
            if due(step, loop.eval_every_steps, loop.num_steps):
                measured = recorder.evaluated(step, evaluate, state)
                recorder.pictured(step, workdir, state)
            if due(step, loop.checkpoint_every_steps, loop.num_steps):
                recorder.save(checkpoints, Carry(state, tally), step, measured)
                saved_step = step
        # Behind the loop, since a signal may come after the last look at it above.
        if stop.signal is not None and saved_step != step:
            recorder.save(checkpoints, Carry(state, tally), step, None)
        checkpoints.wait()
    return Outcome(state, step, stop.signal)


def _open_log(stack: contextlib.ExitStack, workdir: pathlib.Path, step: int) -> MetricLog | None:
    """The metric log, in the process that writes it."""
    return stack.enter_context(MetricLog(workdir, resume_step=step)) if hosts.leads() else None


def _started_from(initial: Initial, state: Any, strategy: Strategy) -> Any:
    """The laid out state with the initial values in it."""
    return strategy.unpack(initial.apply(strategy.fetch(state)))


class _Recorder:
    """Log lines, evaluations and checkpoints of a run, and the clock that leaves them out."""

    def __init__(
        self,
        experiment: Experiment,
        console: Console,
        log: MetricLog | None,
        feed: Feed,
        step: int,
    ) -> None:
        self._experiment = experiment
        self._console = console
        self._log = log
        self._feed = feed
        self._waited = feed.waited
        self._kept: tuple[int, Tally] | None = None
        self._timed_step = step
        self._clock = time.monotonic()
        self._first_step_seconds = 0.0

    def compiled(self, step: int, started: float | None) -> None:
        """Leaves the first call, which compiles, out of the speed that is reported."""
        now = time.monotonic()
        self._first_step_seconds = now - self._clock
        self._timed_step, self._clock, self._waited = step, now, self._feed.waited
        if started is not None:
            self._console.note(f"first step after {now - started:.1f} s")

    def keep(self, step: int, tally: Tally) -> None:
        """Remembers a tally until `flush`."""
        self._kept = (step, tally)

    def flush(self) -> None:
        """Writes the line that was kept. Raises a UserError where a loss was not finite."""
        if self._kept is None:
            return
        (step, tally), self._kept = self._kept, None
        fetched = self._check(tally)
        seconds = time.monotonic() - self._clock
        timing = {"seconds": seconds + self._first_step_seconds}
        batch_size = self._experiment.config["loader"]["batch_size"]
        speed = (step - self._timed_step) * batch_size / seconds
        if step > self._timed_step:
            timing["images_per_second"] = speed
            timing["data_wait"] = (self._feed.waited - self._waited) / seconds
        values = scalars("train", fetched.metrics)
        with jax.transfer_guard("allow"):
            values["train/learning_rate"] = self._experiment.learning_rate(step - 1)
        values["epoch"] = step / self._experiment.steps_per_epoch
        if self._log is not None:
            self._log.write(step, values, timing=timing)
        shown = {name: values[name] for name in ("train/loss", "train/accuracy") if name in values}
        if "data_wait" in timing:
            shown["data_wait"] = timing["data_wait"]
        self._console.update(step, shown, speed)
        self._timed_step, self._clock, self._first_step_seconds = step, time.monotonic(), 0.0
        self._waited = self._feed.waited

    def evaluated(
        self, step: int, evaluate: Callable[[Any], dict[str, float]], state: Any
    ) -> dict[str, float]:
        """Evaluates, writes the line and returns the values."""
        self.flush()
        began = time.monotonic()
        values = evaluate(state)
        if self._log is not None:
            self._log.write(step, values, timing={"eval_seconds": time.monotonic() - began})
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self._console.note(f"step {step}  {text}")
        self._clock += time.monotonic() - began
        return values

    def pictured(self, step: int, workdir: pathlib.Path, state: Any) -> None:
        """Keeps a sheet of the images that the task makes, where it makes any."""
        began = time.monotonic()
        images = self._experiment.pictures(state)
        if images is not None and hosts.leads():
            sheet.save_step(workdir, step, images)
        self._clock += time.monotonic() - began

    def save(
        self,
        checkpoints: Checkpoints,
        carry: Carry,
        step: int,
        measured: Mapping[str, float] | None,
    ) -> None:
        """Saves a checkpoint, whose lines are in the log before and whose loss was finite."""
        self.flush()
        began = time.monotonic()
        self._check(carry.tally)
        checkpoints.save(step, self._experiment.strategy.pack(carry), measured)
        self._clock += time.monotonic() - began

    def _check(self, tally: Tally) -> Tally:
        fetched = self._experiment.strategy.fetch(tally)
        if fetched.bad_step != _NEVER:
            raise UserError(
                f"the loss of step {fetched.bad_step} is not finite; lower the learning rate "
                "(optimizer.learning_rate), warm up longer (schedule.warmup_epochs) or clip "
                "gradients (optimizer.clip_norm). The checkpoints before it are as they were"
            )
        return fetched
