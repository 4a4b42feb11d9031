"""Optimizers, schedules, weight decay and moving averages, all built from optax transformations.

An update is written out once, for every optimizer, in the order of `make_optimizer`:

    gradient -> clip -> + L2 and L1 -> optimizer's scaling -> + weight decay -> (trust ratio)
             -> times minus the learning rate
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from cnn.core import Batch, Key, Metrics, Params, Task, TrainState
from cnn.errors import UserError, unknown


def make_schedule(
    num_steps: int,
    steps_per_epoch: int,
    *,
    name: str,
    warmup_epochs: float,
    end_factor: float,
    decay_epochs: Sequence[float],
    decay_rate: float,
) -> optax.Schedule:
    """The factor on the learning rate at each step, in [0, 1].

    Args:
        num_steps: Length of the training.
        steps_per_epoch: Turns epochs into steps.
        name: `constant`; `cosine` and `linear`, which fall from the end of the warm-up on and reach
            `end_factor` after the last step; `step`, which multiplies by `decay_rate` at each of
            `decay_epochs`; `exponential`, which multiplies by `decay_rate` over every
            `decay_epochs[0]` epochs after the warm-up, smoothly.
        warmup_epochs: The factor rises linearly from 0 over this time; 0 means no warm-up.
        end_factor: Where `cosine` and `linear` end.
        decay_epochs: For `step`, counted from the start of the training, warm-up included.
        decay_rate: For `step` and `exponential`.

    Raises:
        UserError: For an unknown name, a negative number, or an exponential schedule without
            `decay_epochs`.
    """
    _check_not_negative(
        "schedule",
        warmup_epochs=warmup_epochs,
        end_factor=end_factor,
        decay_rate=decay_rate,
        decay_epochs=min(decay_epochs, default=0.0),
    )
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    # A training that ends before its warm-up does, as a trial of a few steps, is legal.
    rest_steps = max(num_steps - warmup_steps, 1)
    if name == "exponential" and not decay_epochs:
        raise UserError("the exponential schedule needs schedule.decay_epochs, for instance (2.4,)")
    decay_steps = [round(epochs * steps_per_epoch) for epochs in decay_epochs]
    # Several may fall into one step, above all into the warm-up, and all of them count.
    decays = Counter(max(step - warmup_steps, 0) for step in decay_steps)
    table: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, rest_steps, end_factor),
        "linear": lambda: optax.linear_schedule(1.0, end_factor, rest_steps),
        "step": lambda: optax.piecewise_constant_schedule(
            1.0, {step: decay_rate**count for step, count in decays.items()}
        ),
        "exponential": lambda: optax.exponential_decay(1.0, max(decay_steps[0], 1), decay_rate),
    }
    if name not in table:
        raise unknown("schedule", name, table)
    if not warmup_steps:
        return table[name]()
    warmup = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return optax.join_schedules([warmup, table[name]()], [warmup_steps])


class Decay(NamedTuple):
    """What pulls parameters to zero: `before` the optimizer's scaling, and `after` it."""

    before: optax.GradientTransformation
    after: optax.GradientTransformation


def make_decay(*, weight_decay: float, l2: float, l1: float, apply_to: str) -> Decay:
    """Penalties on the parameters; 0 means none.

    Args:
        weight_decay: Decoupled (Loshchilov and Hutter 2019, as AdamW in PyTorch): a step subtracts
            learning rate * weight_decay * parameter.
        l2: Coupled: the loss gains l2 / 2 * sum of squares, so the optimizer sees l2 * parameter.
        l1: Coupled: the loss gains l1 * sum of absolute values.
        apply_to: `kernels` leaves out biases, scales and embeddings; `all` leaves out nothing.

    Raises:
        UserError: For a negative penalty or an unknown `apply_to`.
    """
    _check_not_negative("regularization", weight_decay=weight_decay, l2=l2, l1=l1)
    if apply_to not in ("kernels", "all"):
        raise unknown("value of regularization.apply_to", apply_to, ("kernels", "all"))
    mask = kernels if apply_to == "kernels" else None
    before = [optax.identity()]
    if l2:
        before.append(optax.add_decayed_weights(l2, mask))
    if l1:
        signs = optax.stateless(
            lambda updates, params: jax.tree.map(lambda u, p: u + l1 * jnp.sign(p), updates, params)
        )
        before.append(optax.masked(signs, mask) if mask else signs)
    after = optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity()
    return Decay(optax.chain(*before), after)


def kernels(params: Params) -> Params:
    """True at the weights of convolutions and products, False at biases, norms and embeddings."""

    def is_kernel(path: tuple[Any, ...], _: Any) -> bool:
        return getattr(path[-1], "key", "") == "kernel"

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def make_optimizer(
    schedule: optax.Schedule,
    decay: Decay,
    *,
    name: str,
    learning_rate: float,
    clip_norm: float,
    options: Mapping[str, Mapping[str, Any]],
) -> optax.GradientTransformation:
    """The optimizer.

    Args:
        schedule: Factor on the learning rate by step.
        decay: Penalties.
        name: A key of `OPTIMIZERS`.
        learning_rate: At factor 1.
        clip_norm: Gradients of a larger global norm are scaled down to it; 0 means no clipping.
        options: By optimizer name, its own arguments; only those of `name` are read.

    Raises:
        UserError: For an unknown optimizer, an option that it does not have, or a negative number.
    """
    _check_not_negative("optimizer", learning_rate=learning_rate, clip_norm=clip_norm)
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    scaling = OPTIMIZERS[name]
    own = dict(options.get(name, {}))
    known = inspect.signature(scaling).parameters
    for option in own:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        decay.before,
        scaling(**own),
        decay.after,
        optax.scale_by_trust_ratio() if name == "lamb" else optax.identity(),
        optax.scale_by_learning_rate(lambda step: learning_rate * schedule(step)),
    )


def _check_not_negative(section: str, **values: float) -> None:
    for name, value in values.items():
        # Turned round, so that NaN is refused too.
        if not value >= 0:
            raise UserError(f"{section}.{name} must be at least 0, got {value}")


def _sgd(momentum: float = 0.9, nesterov: bool = False) -> optax.GradientTransformation:
    return optax.trace(momentum, nesterov) if momentum else optax.identity()


def _adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps)


def _nadam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps, nesterov=True)


def _lamb(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps)


def _lion(b1: float = 0.9, b2: float = 0.99) -> optax.GradientTransformation:
    return optax.scale_by_lion(b1, b2)


def _rmsprop(
    decay: float = 0.9, eps: float = 1e-8, momentum: float = 0.0
) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_rms(decay, eps), _sgd(momentum))


def _adagrad(
    initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> optax.GradientTransformation:
    return optax.scale_by_rss(initial_accumulator_value, eps)


def _adafactor(
    decay_rate: float = 0.8, clipping_threshold: float = 1.0, min_dim_size_to_factor: int = 128
) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=decay_rate, min_dim_size_to_factor=min_dim_size_to_factor
        ),
        optax.clip_by_block_rms(clipping_threshold),
        optax.scale_by_param_block_rms(),
    )


def _muon(
    beta: float = 0.95, ns_steps: int = 5, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Muon for hidden kernels, a convolution's taken as one matrix; Adam for the rest.

    The update is scaled to Adam's root mean square of about 0.2, so that both share one learning
    rate (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
    """

    def matrices(params: Params) -> Any:
        return jax.tree.map(
            lambda p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1),
            params,
        )

    def labels(params: Params) -> Any:
        def label(path: tuple[Any, ...], is_kernel: bool) -> str:
            hidden = getattr(path[0], "key", "") != "head"
            return "muon" if is_kernel and hidden else "adam"

        return jax.tree_util.tree_map_with_path(label, kernels(params))

    def to_adams_size(update: jax.Array) -> jax.Array:
        # An orthogonal m x n matrix has a root mean square of 1 / sqrt(max(m, n)).
        rows, columns = update.size // update.shape[-1], update.shape[-1]
        return 0.2 * max(rows, columns) ** 0.5 * update

    muon = optax.chain(
        optax.contrib.scale_by_muon(
            beta=beta, ns_steps=ns_steps, weight_dimension_numbers=matrices
        ),
        optax.stateless(lambda updates, _: jax.tree.map(to_adams_size, updates)),
    )
    return optax.partition({"muon": muon, "adam": optax.scale_by_adam(b1, b2)}, labels)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adafactor": _adafactor,
    "adagrad": _adagrad,
    "adam": _adam,
    "adamw": _adam,  # the same scaling: what differs is which penalty the config asks for
    "lamb": _lamb,
    "lion": _lion,
    "muon": _muon,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}
"""Optimizers by name: functions from their options to the scaling of a gradient."""


def with_ema(task: Task[TrainState], *, decay: float, evaluate: bool) -> Task[TrainState]:
    """The task with an exponential moving average of parameters and batch statistics.

    Batch statistics are averaged too, since those of the newest parameters do not fit averaged
    ones. The decay at step t is min(decay, (1 + t) / (10 + t)), so that a short run does not
    remember its initial values.

    Args:
        task: A supervised task.
        decay: In [0, 1), for instance 0.9999; 0 means no average.
        evaluate: Whether evaluation and prediction use the average.
    """
    if not decay:
        return task
    if not 0.0 < decay < 1.0:
        raise UserError(f"ema.decay must be in [0, 1), got {decay}")

    def init(key: Key, batch: Batch) -> TrainState:
        state = task.init(key, batch)
        # A copy, since two leaves that share a buffer cannot both be donated.
        return state._replace(ema=jax.tree.map(jnp.copy, (state.params, state.model_state)))

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        new, metrics = task.step(state, batch, key)
        count = state.step.astype(jnp.float32)
        rate = 1.0 - jnp.minimum(decay, (1.0 + count) / (10.0 + count))
        ema = optax.incremental_update((new.params, new.model_state), state.ema, rate)
        return new._replace(ema=ema), metrics

    def averaged(state: TrainState) -> TrainState:
        params, model_state = state.ema
        return state._replace(params=params, model_state=model_state)

    if not evaluate:
        return Task(init, step, task.evaluate, task.predict)
    return Task(
        init,
        step,
        lambda state, batch: task.evaluate(averaged(state), batch),
        lambda state, batch: task.predict(averaged(state), batch),
    )


def average_gradients(axis_name: str | None) -> optax.GradientTransformation:
    """Averages the gradients over the devices of a `pmap`; nothing where the axis is None."""
    if axis_name is None:
        return optax.identity()
    return optax.stateless(lambda updates, _: jax.lax.pmean(updates, axis_name))
