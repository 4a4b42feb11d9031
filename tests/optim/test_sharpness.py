"""SAM by its formula, over parts and devices, and whose statistics remain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import core, optim, parallel
from cnn.errors import UserError

KEY = jax.random.key(0)


def loss_fn(params, model_state, batch, key):
    """A quartic regression; the state is where the loss was last taken."""
    errors = (batch["image"] @ params["w"]) ** 2 - batch["label"]
    losses = errors**2
    metrics = {"loss": core.Mean.of(losses, jnp.ones(len(losses)))}
    return jnp.mean(losses), ({"seen": params["w"]}, metrics)


def problem():
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.normal(size=(16, 3)), jnp.float32),
        "label": jnp.asarray(rng.normal(size=16), jnp.float32),
    }
    return jnp.asarray([0.5, -1.0, 0.8]), batch


def state_of(w, tx):
    params = {"w": w}
    return core.TrainState(jnp.zeros((), jnp.int32), params, {"seen": w}, tx.init(params))


def stepped(rho, parts=1):
    w, batch = problem()
    tx = optim.with_sharpness(optax.sgd(0.1, momentum=0.9), rho=rho)
    step = jax.jit(core.descend(loss_fn, tx, accumulate_steps=parts))
    state = state_of(w, tx)
    for _ in range(2):
        before = state
        state, _ = step(state, batch, KEY)
    return state, before


def by_hand(rho):
    w, batch = problem()
    x, y, w = (np.asarray(a, np.float64) for a in (batch["image"], batch["label"], w))

    def gradient(w):
        return (4 * ((x @ w) ** 2 - y) * (x @ w)) @ x / len(y)

    moved = np.zeros(3)
    for _ in range(2):
        up = gradient(w)
        moved = 0.9 * moved + gradient(w + rho * up / np.linalg.norm(up))
        w = w - 0.1 * moved
    return w


@pytest.mark.parametrize("parts", [1, 4])
def test_the_gradient_is_that_of_the_place_up_the_loss(parts):
    state, before = stepped(0.05, parts)
    np.testing.assert_allclose(state.params["w"], by_hand(0.05), rtol=1e-5)
    assert np.max(np.abs(by_hand(0.05) - by_hand(0.0))) > 1e-3
    # What the first pass left is kept: it saw the parameters themselves.
    np.testing.assert_array_equal(state.model_state["seen"], before.params["w"])


def test_at_rho_zero_the_optimizer_is_itself():
    tx = optax.sgd(0.1)
    assert optim.with_sharpness(tx, rho=0.0) is tx


@pytest.mark.parametrize("name", ["mesh", "pmap"])
def test_over_devices_it_is_that_of_one(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=4)
    axis = strategy.axis_name
    inner = optax.chain(optim.average_gradients(axis), optax.sgd(0.1))
    tx = optim.with_sharpness(inner, axis, rho=0.05)
    step = core.descend(loss_fn, tx)
    w, batch = problem()
    laid_out = strategy.put(jax.tree.map(np.asarray, batch))
    run = strategy.step(lambda state, _, batch, key: (step(state, batch, key)[0], jnp.zeros(())))
    # Copies, since the step is donated what it gets.
    state = strategy.unpack(jax.tree.map(np.asarray, state_of(w, tx)))
    state, _ = run(state, strategy.unpack(jnp.zeros(())), laid_out, strategy.share(KEY))
    alone = optim.with_sharpness(optax.sgd(0.1), rho=0.05)
    expected, _ = jax.jit(core.descend(loss_fn, alone))(state_of(w, alone), batch, KEY)
    np.testing.assert_allclose(strategy.fetch(state).params["w"], expected.params["w"], rtol=1e-5)


@pytest.mark.parametrize("rho", [-0.1, float("nan")])
def test_a_radius_that_cannot_be_is_refused(rho):
    with pytest.raises(UserError, match=r"sharpness\.rho must be at least 0, got"):
        optim.with_sharpness(optax.sgd(0.1), rho=rho)
