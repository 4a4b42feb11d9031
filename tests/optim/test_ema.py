"""The moving average against NumPy, and what evaluates it."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from cnn import core, optim
from cnn.errors import UserError


def counting_task():
    """Parameters and statistics that are functions of the step; evaluation shows what it got."""

    def init(key, batch):
        return core.TrainState(
            jnp.zeros((), jnp.int32), {"w": jnp.full((), 5.0)}, {"mean": jnp.full((), -1.0)}, ()
        )

    def step(state, batch, key):
        t = state.step + 1.0
        # Nothing is left of the old values, but they are read, or they could not be donated.
        params = {"w": 0 * state.params["w"] + t**2}
        model_state = {"mean": 0 * state.model_state["mean"] + 10 * t}
        new = state._replace(step=state.step + 1, params=params, model_state=model_state)
        return new, {"loss": core.Mean(t, jnp.ones(()))}

    def evaluate(state, batch):
        return {"w": state.params["w"], "mean": state.model_state["mean"]}

    return core.Task(init, step, evaluate, evaluate, evaluate)


BATCH = {"image": jnp.zeros((1, 1))}
KEY = jax.random.key(0)


@pytest.mark.parametrize("rate", [0.3, 0.999])
def test_the_average_is_that_of_numpy_with_statistics(rate):
    task = optim.with_ema(counting_task(), decay=rate, evaluate=True)
    state = task.init(KEY, BATCH)
    w, mean = 5.0, -1.0
    for t in range(40):
        state, metrics = task.step(state, BATCH, KEY)
        kept = min(rate, (1 + t) / (10 + t))
        w = kept * w + (1 - kept) * (t + 1) ** 2
        mean = kept * mean + (1 - kept) * 10 * (t + 1)
    assert float(state.ema[0]["w"]) == pytest.approx(w, rel=1e-5)
    assert float(state.ema[1]["mean"]) == pytest.approx(mean, rel=1e-5)
    assert float(state.params["w"]) == 1600.0  # what is trained is not averaged
    assert float(metrics["loss"].total) == 40.0
    for measure in (task.evaluate, task.predict, task.features):
        measured = measure(state, BATCH)
        assert float(measured["w"]) == pytest.approx(w, rel=1e-5)
        assert float(measured["mean"]) == pytest.approx(mean, rel=1e-5)


class Two(NamedTuple):
    predicts: core.TrainState
    judges: core.TrainState

    @property
    def step(self):
        return self.predicts.step


def test_of_two_networks_the_one_that_predicts_is_averaged():
    one = counting_task()

    def step(state, batch, key):
        (predicts, metrics), (judges, _) = (one.step(part, batch, key) for part in state)
        return Two(predicts, judges), metrics

    def evaluate(state, batch):
        return {"predicts": state.predicts.params["w"], "judges": state.judges.params["w"]}

    def init(key, batch):
        return Two(one.init(key, batch), one.init(key, batch))

    task = core.Task(init, step, evaluate, evaluate, part="predicts")
    task = optim.with_ema(task, decay=0.5, evaluate=True, ramp="none")
    state = task.init(KEY, BATCH)
    for _ in range(2):
        state, _ = task.step(state, BATCH, KEY)
    assert state.judges.ema is None
    averaged = 0.5 * (0.5 * 5.0 + 0.5 * 1.0) + 0.5 * 4.0
    assert task.evaluate(state, BATCH) == {"predicts": averaged, "judges": 4.0}
    assert core.all_params(state) == ({"w": 4.0}, {"w": 4.0})


@pytest.mark.parametrize(("ramp", "power"), [("cubic", 3), ("none", 0)])
def test_lookahead_goes_on_from_its_average_every_few_steps(ramp, power):
    # A walk whose next place depends on the one before, so that what is written back is seen.
    def step(state, batch, key):
        params = {"w": 2 * state.params["w"] + 1}
        model_state = {"mean": state.model_state["mean"] + 1}
        new = state._replace(step=state.step + 1, params=params, model_state=model_state)
        return new, {"loss": core.Mean(jnp.ones(()), jnp.ones(()))}

    task = dataclasses.replace(counting_task(), step=step)
    options = {"decay": 0.6, "evaluate": True, "every_steps": 3, "write_back": True}
    task = optim.with_ema(task, 10, ramp=ramp, **options)
    run = jax.jit(task.step, donate_argnums=0)
    state = task.init(KEY, BATCH)
    w, slow, mean, slow_mean = 5.0, 5.0, -1.0, -1.0
    for t in range(1, 11):
        state, _ = run(state, BATCH, KEY)
        w, mean = 2 * w + 1, mean + 1
        if t % 3 == 0:
            kept = 0.6 * (t / 10) ** power
            w = slow = kept * slow + (1 - kept) * w
            mean = slow_mean = kept * slow_mean + (1 - kept) * mean
        assert float(state.params["w"]) == pytest.approx(w, rel=1e-5)
        assert float(state.ema[0]["w"]) == pytest.approx(slow, rel=1e-5)
        assert float(state.model_state["mean"]) == pytest.approx(mean, rel=1e-5)
    # The last step is behind the last average, and evaluation does not see it.
    assert float(task.evaluate(state, BATCH)["w"]) == pytest.approx(slow, rel=1e-5)


def test_a_short_run_does_not_remember_where_it_began():
    task = optim.with_ema(counting_task(), decay=0.9999, evaluate=True)
    state = task.init(KEY, BATCH)._replace(ema=({"w": jnp.asarray(1e6)}, {"mean": jnp.zeros(())}))
    for _ in range(30):
        state, _ = task.step(state, BATCH, KEY)
    assert float(state.ema[0]["w"]) < 1e3  # with 0.9999 from the start it would be 997,000


def test_evaluation_need_not_use_the_average():
    task = optim.with_ema(counting_task(), decay=0.9, evaluate=False)
    state, _ = task.step(task.init(KEY, BATCH), BATCH, KEY)
    assert float(task.evaluate(state, BATCH)["w"]) == 1.0
    assert float(task.predict(state, BATCH)["mean"]) == 10.0
    assert float(state.ema[0]["w"]) != 1.0


def test_the_state_with_its_average_can_be_donated():
    task = optim.with_ema(counting_task(), decay=0.9, evaluate=True)
    step = jax.jit(task.step, donate_argnums=0)
    state = task.init(KEY, BATCH)
    for _ in range(3):
        old = state
        state, _ = step(state, BATCH, KEY)
        # Donated twice, a shared buffer would have been an error.
        assert old.params["w"].is_deleted()
        assert old.ema[0]["w"].is_deleted()
    assert jax.tree.structure(state) == jax.tree.structure(old)


def test_no_decay_is_no_average():
    task = counting_task()
    assert optim.with_ema(task, decay=0.0, evaluate=True) is task


@pytest.mark.parametrize("rate", [1.0, -0.1, 1.5, math.nan])
def test_a_decay_that_cannot_be_is_refused(rate):
    with pytest.raises(UserError, match=r"ema\.decay must be in \[0, 1\), got"):
        optim.with_ema(counting_task(), decay=rate, evaluate=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ramp": "cube"}, r"unknown value of ema\.ramp 'cube'; did you mean 'cubic'"),
        ({"every_steps": 0}, r"ema\.every_steps must be at least 1, got 0"),
    ],
)
def test_an_average_that_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        optim.with_ema(counting_task(), decay=0.9, evaluate=True, **options)
