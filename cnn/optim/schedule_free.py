"""Training without a schedule that ends: an average of all steps, which is what is evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from cnn.core import Batch, Key, Metrics, Task
from cnn.errors import UserError
from cnn.optim.ema import averaging


class ScheduleFree(NamedTuple):
    """What becomes of the optimizer, and of the task."""

    optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation]
    task: Callable[[Task[Any]], Task[Any]]


def make_schedule_free(
    learning_rate: optax.Schedule, *, b1: float = 0.0, weight_lr_power: float = 2.0
) -> ScheduleFree:
    """Schedule-free learning (Defazio et al. 2024, "The road less scheduled", equations 3 to 5).

    The optimizer moves one point, and its average with weights is another; gradients are taken
    between the two. Use it with `schedule.name="constant"`, a warm-up, and an optimizer without
    momentum, which `b1` takes the place of: sgd with momentum 0, or adam with b1 0. Evaluation and
    prediction use the average, with the batch statistics of the places between; where a network
    has batch norm, these fit the average only roughly.

    Args:
        learning_rate: At each step.
        b1: How near to the average gradients are taken, in (0, 1): 0.9; 0 is off.
        weight_lr_power: A step weighs in the average by the largest learning rate so far to this
            power.

    Raises:
        UserError: If `b1` is not in [0, 1).
    """
    if not 0.0 <= b1 < 1.0:
        raise UserError(f"schedule_free.b1 must be in [0, 1), got {b1}")
    if not b1:
        return ScheduleFree(lambda tx: tx, lambda task: task)

    def optimizer(tx: optax.GradientTransformation) -> optax.GradientTransformation:
        # optax counts from 1 here, and from 0 in schedules.
        return optax.contrib.schedule_free(
            tx, lambda count: learning_rate(count - 1), b1=b1, weight_lr_power=weight_lr_power
        )

    def wrap(task: Task[Any]) -> Task[Any]:
        def init(key: Key, batch: Batch) -> Any:
            state = task.init(key, batch)
            own = task.predicting(state)
            # A copy, since two leaves that share a buffer cannot both be donated.
            ema = jax.tree.map(jnp.copy, (own.params, own.model_state))
            return task.with_predicting(state, own._replace(ema=ema))

        def step(state: Any, batch: Batch, key: Key) -> tuple[Any, Metrics]:
            moved, metrics = task.step(state, batch, key)
            new = task.predicting(moved)
            free = _state_of(new.opt_state)
            params = optax.contrib.schedule_free_eval_params(free, new.params)
            return task.with_predicting(moved, new._replace(ema=(params, new.model_state))), metrics

        return averaging(dataclasses.replace(task, init=init, step=step))

    return ScheduleFree(optimizer, wrap)


def _state_of(opt_state: Any) -> Any:
    """The state of schedule-free learning, wherever in that of the optimizer it is."""

    def found(x: Any) -> bool:
        return isinstance(x, optax.contrib.ScheduleFreeState)

    return next(filter(found, jax.tree.leaves(opt_state, is_leaf=found)))
