"""Schedule-free learning by its equations, and what is evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import core, optim
from cnn.errors import UserError

KEY = jax.random.key(0)
BATCH = {"image": jnp.zeros((1, 1))}
RATES = (0.1, 0.2, 0.2, 0.1, 0.1)


def loss_fn(params, model_state, batch, key):
    loss = 0.5 * jnp.sum((params["w"] - 3.0) ** 2)
    return loss, ({"count": model_state["count"] + 1}, {"loss": core.Mean(loss, jnp.ones(()))})


def make(b1):
    def rate(step):
        return jnp.asarray(RATES)[step]

    free = optim.make_schedule_free(rate, b1=b1)
    inner = optax.chain(optax.identity(), optax.scale_by_learning_rate(rate))
    tx = optax.chain(optax.identity(), free.optimizer(inner))

    def init(key, batch):
        params = {"w": jnp.asarray([1.0, -1.0])}
        state = {"count": jnp.zeros(())}
        return core.TrainState(jnp.zeros((), jnp.int32), params, state, tx.init(params))

    def evaluate(state, batch):
        return {"w": state.params["w"], "count": state.model_state["count"]}

    return free.task(core.Task(init, core.descend(loss_fn, tx), evaluate, evaluate))


def test_evaluation_sees_the_weighted_average_of_the_steps():
    task = make(0.9)
    step = jax.jit(task.step, donate_argnums=0)
    state = task.init(KEY, BATCH)
    z = x = y = np.asarray([1.0, -1.0])
    total = largest = 0.0
    for rate in RATES:
        state, _ = step(state, BATCH, KEY)
        z = z - rate * (y - 3.0)
        largest = max(largest, rate)
        total += largest**2
        share = largest**2 / total
        x = (1 - share) * x + share * z
        y = 0.9 * x + 0.1 * z
        np.testing.assert_allclose(state.params["w"], y, rtol=1e-5)
        for measure in (task.evaluate, task.predict):
            np.testing.assert_allclose(measure(state, BATCH)["w"], x, rtol=1e-5)
    assert np.max(np.abs(x - y)) > 0.01
    assert float(task.evaluate(state, BATCH)["count"]) == 5


def test_off_nothing_is_wrapped():
    free = optim.make_schedule_free(lambda step: 0.1)
    tx = optax.sgd(0.1)
    assert free.optimizer(tx) is tx
    task = core.Task(*(lambda *args: None for _ in range(4)))
    assert free.task(task) is task


@pytest.mark.parametrize("b1", [1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be_is_refused(b1):
    with pytest.raises(UserError, match=r"schedule_free\.b1 must be in \[0, 1\), got"):
        optim.make_schedule_free(lambda step: 0.1, b1=b1)
