"""A step of one of our networks, of training or of inference, as a run really computes it."""

from __future__ import annotations

import contextlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn import allocator, macs, models, ops, optim, parallel
from cnn.benchmark import devices, host, trace
from cnn.benchmark.job import NUM_OBJECTS, Network, Prepared
from cnn.core import Batch, Key, Metrics, Task, merge
from cnn.errors import UserError
from cnn.kinds import KINDS

WARM_UP_STEPS = 2
# Small, so that no number overflows or becomes subnormal however often the batch is repeated.
LEARNING_RATE = 1e-3


class Counts(NamedTuple):
    """Facts of a network at a size.

    Attributes:
        parameters: Trained ones; of a generator those of the network that makes the images.
        macs: Multiply-accumulates of its forward pass for one image.
        step_macs: Of the whole step, counted on the step's own program.
    """

    parameters: int
    macs: int
    step_macs: int


class JaxNetwork:
    """A network over all devices, as `cnn train` and `cnn predict` run it; a `worker.Side`.

    Args:
        job: Which network, and how.
        stock: Plain `lax` operations instead of our formulations.
    """

    def __init__(self, job: Network, *, stock: bool) -> None:
        self._job = job
        self._formulation = ops.stock if stock else contextlib.nullcontext
        self._strategy = parallel.make_strategy(strategy="mesh", num_devices=0)
        count = self._strategy.num_devices
        if job.batch_size % count:
            raise UserError(f"--batch_size={job.batch_size} does not divide over {count} devices")
        kind, self._options = models.kind_of(job.model)
        self._kind = KINDS[kind]
        self._model = self._kind.model(
            job.model,
            num_classes=job.num_classes,
            dtype=job.dtype,
            **models.size_fields(job.model, job.image_size),
        )
        self._task = self._make_task()
        self._key = self._strategy.share(jax.random.key(0))
        self._compiled: Any = None
        self._state: Any = None
        self._batch: Any = None

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Compiles the step.

        Raises:
            UserError: If by the compiler's plan it needs more memory than is free.
        """
        state, batch = self._shapes()
        # jax.jit knows a function again by its identity, and with it the formulations.
        step, args = self._step(state, batch)
        began = time.perf_counter()
        with self._formulation():
            self._compiled = step.lower(*args).compile()
        seconds = time.perf_counter() - began
        needed = _planned_bytes(self._compiled)
        self._check_fits(needed)
        return Prepared(compile_seconds=seconds, estimated_bytes=needed)

    def count(self) -> Counts:
        """Parameters and multiply-accumulates, on the program of plain `lax` operations.

        The formulations do the same work in other operations, some of them no products.
        """
        state, batch = self._shapes()
        task, job = self._make_task(), self._job
        with ops.stock():
            variables, forward = models.count(self._model, job.image_size, job.channels)
            if job.mode == "train":
                whole = macs.count(task.step, state[0], batch, self._key)
            else:
                whole = macs.count(task.predict, state[0], batch)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        return Counts(parameters, forward, whole)

    def start(self) -> None:
        """Makes a state and a batch of noise, and takes the first steps."""
        # The state and the batch of an earlier start need not live beside the new ones.
        self._state = self._batch = None
        self._batch = self._strategy.put(self._seen(self._noise(self._job.batch_size)))
        small = self._strategy.put(self._noise(self._num_devices))
        self._state = self._strategy.init(self._init, self._key, small)
        jax.block_until_ready((self._state, self._batch))
        allocator.trim()
        host.reset_peak()
        self.run(WARM_UP_STEPS)

    def run(self, repeats: int) -> float:
        """Steps one after another; seconds of one.

        Training waits only after the last, as `cnn train` does: each step needs the one before. Of
        inference the steps could overlap, so each is waited for.
        """
        if self._job.mode == "train":
            began = time.perf_counter()
            for _ in range(repeats):
                self._state = self._compiled(*self._state, self._batch, self._key)
            jax.block_until_ready(self._state)
            return (time.perf_counter() - began) / repeats
        return devices.wait_each(lambda: self._compiled(self._state[0], self._batch), repeats)

    def peak_bytes(self) -> int | None:
        """The most memory since `start`, of a device since the process began."""
        return devices.peak_bytes()

    def profile(self, directory: str, steps: int) -> list[trace.Cost]:
        """The costliest HLO operations of some steps, whose trace is left in the directory."""
        return trace.record(
            lambda: self.run(1), directory, steps=steps, program=self._compiled.as_text()
        )

    @property
    def _num_devices(self) -> int:
        return self._strategy.num_devices

    def _make_task(self) -> Task[Any]:
        """What trains the network, with SGD and momentum; else without an optimizer's memory."""
        tx = optax.identity()
        if self._job.mode == "train":
            tx = optim.make_optimizer(
                optax.constant_schedule(1.0),
                optim.make_decay(weight_decay=0.0, l2=0.0, l1=0.0, apply_to="kernels"),
                name="sgd",
                learning_rate=LEARNING_RATE,
                clip_norm=0.0,
                options={},
            )
        return self._kind.make(self._model, tx, **self._options)

    def _init(self, key: Key, batch: Batch) -> tuple[Any, Metrics]:
        state = self._task.init(key, batch)
        if self._job.mode == "infer":
            return state, {}
        metrics = jax.eval_shape(self._task.step, state, batch, key)[1]
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    def _shapes(self) -> tuple[Any, Any]:
        """Of (state, metrics) and of the batch: a batch that is too large costs nothing yet."""
        small = self._strategy.put(self._noise(self._num_devices))
        carry = self._strategy.abstract(jax.eval_shape(self._init, self._key, small))
        size = self._job.batch_size
        batch = {
            name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=x.sharding)
            for name, x in self._seen(small).items()
        }
        return carry, batch

    def _step(self, carry: Any, batch: Any) -> tuple[Any, tuple[Any, ...]]:
        """The jitted step and what it is called with."""
        task, strategy = self._task, self._strategy
        if self._job.mode == "infer":
            return strategy.predict(task.predict), (carry[0], batch)

        def step(state: Any, tally: Metrics, batch: Batch, key: Key) -> tuple[Any, Metrics]:
            state, metrics = task.step(state, batch, jax.random.fold_in(key, state.step))
            return state, merge(tally, strategy.total(metrics))

        return strategy.step(step), (*carry, batch, self._key)

    def _noise(self, batch_size: int) -> dict[str, np.ndarray]:
        job, rng = self._job, np.random.default_rng(0)
        channels = job.channels * (2 if self._kind.target == "pair" else 1)
        shape = (batch_size, job.image_size, job.image_size, channels)
        images = rng.standard_normal(shape, np.float32)
        blank = self._kind.blank(batch_size, job.image_size)
        latent_size = getattr(self._model, "latent_size", 0) if job.mode == "infer" else 0
        latents = rng.standard_normal((batch_size, latent_size), np.float32)
        return {
            # Made images have pixels from -1 to 1, and so do those that they are compared with.
            "image": np.tanh(images) if self._kind.pictured else images,
            **{name: _drawn(name, x, job.num_classes, rng) for name, x in blank.items()},
            "weight": np.ones(batch_size, np.float32),
            **({"latent": latents} if latent_size else {}),
        }

    def _seen(self, noise: dict[str, Any]) -> dict[str, Any]:
        """What the step reads: latents alone where images are made of them."""
        return {"latent": noise["latent"]} if "latent" in noise else noise

    def _check_fits(self, needed: int | None) -> None:
        free = devices.available_bytes()
        if needed is None or free is None:
            return
        if jax.default_backend() == "cpu":
            needed *= self._num_devices  # one memory for all of them
        if needed > free:
            raise UserError(
                f"a step needs about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; "
                "try a smaller --batch_size or --size"
            )


def _drawn(name: str, blank: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """What is to be learnt of a batch of noise: any classes (0 of none), of objects any boxes."""
    if name in ("boxes", "proposals"):
        corners = np.sort(rng.uniform(size=(*blank.shape[:2], 2, 2)), axis=2)
        return corners.reshape(blank.shape).astype(blank.dtype)
    classes = rng.integers(max(num_classes, 1), size=blank.shape).astype(blank.dtype)
    if name == "box_labels":
        # The rest stays padding.
        classes[:, NUM_OBJECTS:] = blank[:, NUM_OBJECTS:]
    return classes


def _planned_bytes(compiled: Any) -> int | None:
    """Arguments, results and intermediate values; what is donated counts once."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        - plan.alias_size_in_bytes
        + plan.temp_size_in_bytes
    )
