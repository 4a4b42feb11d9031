"""The exponential moving average of a task's parameters and batch statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from cnn.core import Batch, Key, Metrics, Task, TrainState
from cnn.errors import UserError


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
        return Task(init, step, task.evaluate, task.predict, task.features)
    features = task.features
    return Task(
        init,
        step,
        lambda state, batch: task.evaluate(averaged(state), batch),
        lambda state, batch: task.predict(averaged(state), batch),
        features and (lambda state, batch: features(averaged(state), batch)),
    )
