"""Optimizers by contract and against NumPy; the learning rate; clipping."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import optim
from cnn.checkpoint import Checkpoints
from cnn.errors import UserError
from tests.optim.small import CONSTANT, assert_same, decay, optimizer, schedule, tree, updates_of

NAMES = sorted(optim.OPTIMIZERS)
# By default LARS moves a kernel by a thousandth of its norm.
LARGE = {"lars": {"trust_coefficient": 0.2}}


def down_a_bowl(tx, steps):
    """(params, state) -> the same after so many steps down a bowl around `tree(1)`, and losses."""
    goal = tree(1)

    def loss_fn(params):
        return sum(
            jnp.sum((x - y) ** 2)
            for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(goal), strict=True)
        )

    def body(carry, _):
        params, state = carry
        loss, gradients = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), loss

    # A scan takes only a state that keeps its structure, shapes and types.
    return jax.jit(lambda carry: jax.lax.scan(body, carry, length=steps))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_descends_keeps_types_and_goes_on_from_a_restored_state(name):
    rate = {"adagrad": 0.2}.get(name, 0.02)
    penalties = {"weight_decay": 1e-4, "l2": 1e-4, "l1": 1e-5}
    tx = optimizer(name, rate, clip_norm=10.0, own=LARGE.get(name), **penalties)
    run = down_a_bowl(tx, 60)
    carry, losses = run((tree(), tx.init(tree())))
    assert np.all(np.isfinite(losses))
    assert float(losses[-1]) < 0.5 * float(losses[0])
    for leaf in jax.tree.leaves(carry):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    restored = jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, carry))
    assert_same(run(restored)[0], run(carry)[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_moves_every_parameter_by_about_its_learning_rate(name):
    params, gradients = tree(), jax.tree.map(jnp.sign, tree(2))
    tx = optimizer(name, learning_rate=1e-3, own=LARGE.get(name))
    after = updates_of(tx, gradients, params)
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(after), strict=True):
        step = np.abs(new - old)
        assert np.all(step > 0)
        assert 1e-5 < np.sqrt(np.mean(step**2)) < 1e-2


def test_a_checkpoint_holds_the_state_of_every_optimizer(tmp_path):
    # Numbers that no fresh state would have.
    states = jax.tree.map(
        lambda x: x + 7, {name: optimizer(name, weight_decay=0.1).init(tree()) for name in NAMES}
    )
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), states
    )
    options = {"keep_last": 1, "keep_best": 0, "best_metric": "", "best_mode": "max"}
    with Checkpoints(tmp_path, print, **options) as checkpoints:
        checkpoints.save(1, states, None)
        checkpoints.wait()
        found = checkpoints.restore(shapes)
    assert found is not None
    assert jax.tree.structure(found[1]) == jax.tree.structure(states)
    assert_same(found[1], states, rtol=0, atol=0)


# The formulas of the papers, in NumPy.


def numpy_steps(update, params, gradients, learning_rate):
    """`update(t, gradient, param, memory) -> direction` along a sequence of gradients."""
    param, memory = np.asarray(params, np.float64), {}
    for t, gradient in enumerate(gradients, start=1):
        param = param - learning_rate * update(t, np.asarray(gradient, np.float64), param, memory)
    return param


def momentum(t, g, p, memory):
    memory["m"] = 0.9 * memory.get("m", 0) + g
    return memory["m"]


def nesterov(t, g, p, memory):
    return g + 0.9 * momentum(t, g, p, memory)


def adam(t, g, p, memory, b1=0.9, b2=0.999, eps=1e-8):
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    return memory["m"] / (1 - b1**t) / (np.sqrt(memory["v"] / (1 - b2**t)) + eps)


def adamw(t, g, p, memory):
    return adam(t, g, p, memory) + 0.3 * p


def adam_with_l2(t, g, p, memory):
    return adam(t, g + 0.3 * p, p, memory)


def lamb(t, g, p, memory):
    update = adam(t, g, p, memory, eps=1e-6) + 0.3 * p
    return update * np.linalg.norm(p) / np.linalg.norm(update)


def lars(t, g, p, memory):
    direction = (g + 0.3 * p) * 0.1 * np.linalg.norm(p) / np.linalg.norm(g + 0.3 * p)
    return momentum(t, direction, p, memory)


def lion(t, g, p, memory):
    direction = np.sign(0.9 * memory.get("m", 0) + 0.1 * g)
    memory["m"] = 0.99 * memory.get("m", 0) + 0.01 * g
    return direction


def rmsprop(t, g, p, memory):
    memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * g**2
    return g / np.sqrt(memory["v"] + 1e-8)


def rmsprop_of_tensorflow(t, g, p, memory):
    memory["v"] = 0.9 * memory.get("v", 1.0) + 0.1 * g**2
    memory["m"] = 0.8 * memory.get("m", 0) + g / np.sqrt(memory["v"] + 0.5)
    return memory["m"]


def rmsprop_of_torch(t, g, p, memory):
    memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * g**2
    return g / (np.sqrt(memory["v"]) + 0.5)


def adagrad(t, g, p, memory):
    memory["v"] = memory.get("v", 0.1) + g**2
    return g / np.sqrt(memory["v"] + 1e-7)


@pytest.mark.parametrize(
    ("name", "own", "penalties", "formula"),
    [
        ("sgd", {"momentum": 0.0}, {}, lambda t, g, p, memory: g),
        ("sgd", {}, {}, momentum),
        ("sgd", {"nesterov": True}, {}, nesterov),
        ("sgd", {}, {"l2": 0.3}, lambda t, g, p, m: momentum(t, g + 0.3 * p, p, m)),
        ("adam", {}, {}, adam),
        ("adam", {"b1": 0.5, "b2": 0.9, "eps": 0.1}, {}, lambda *a: adam(*a, 0.5, 0.9, 0.1)),
        ("adam", {}, {"l2": 0.3}, adam_with_l2),
        ("adamw", {}, {"weight_decay": 0.3}, adamw),
        ("lamb", {}, {"weight_decay": 0.3}, lamb),
        ("lars", {"trust_coefficient": 0.1}, {"l2": 0.3}, lars),
        ("lion", {}, {}, lion),
        ("rmsprop", {}, {}, rmsprop),
        (
            "rmsprop",
            {"momentum": 0.8, "eps": 0.5, "initial_scale": 1.0},
            {},
            rmsprop_of_tensorflow,
        ),
        ("rmsprop", {"eps": 0.5, "eps_in_sqrt": False}, {}, rmsprop_of_torch),
        ("adagrad", {}, {}, adagrad),
    ],
)
def test_first_steps_are_those_of_the_formula(name, own, penalties, formula):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 2)).astype(np.float32)
    gradients = rng.normal(size=(4, 3, 2)).astype(np.float32)
    tx = optimizer(name, learning_rate=0.1, own=own, **penalties)
    params = {"kernel": jnp.asarray(start)}
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update({"kernel": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
    # Adam's 1 - 0.999^t loses digits in float32.
    expected = numpy_steps(formula, start, gradients, 0.1)
    np.testing.assert_allclose(params["kernel"], expected, rtol=2e-5, atol=2e-6)


def test_lars_remembers_updates_with_their_own_learning_rates_and_spares_what_is_no_kernel():
    rates = (0.5, 0.1, 0.2)
    params, gradients = tree(), tree(2)
    own = {"trust_coefficient": 0.1, "momentum": 0.9}
    tx = optimizer("lars", 1.0, schedule=lambda t: jnp.asarray(rates)[t], own=own, l2=0.3)
    after = updates_of(tx, gradients, params, steps=3)

    def expected(p, g, *, kernel):
        p, g, v = np.asarray(p, np.float64), np.asarray(g, np.float64), 0.0
        for rate in rates:
            step = g + 0.3 * p if kernel else g
            if kernel:
                step = step * 0.1 * np.linalg.norm(p) / np.linalg.norm(step)
            v = 0.9 * v + rate * step
            p = p - v
        return p

    for layer, name in (("body", "kernel"), ("body", "bias"), ("norm", "scale")):
        p, g = params[layer][name], gradients[layer][name]
        wanted = expected(p, g, kernel=name == "kernel")
        np.testing.assert_allclose(after[layer][name], wanted, rtol=1e-5, atol=1e-6)


def test_nadam_looks_ahead():
    gradients = [jnp.full((1, 1), 1.0), jnp.full((1, 1), -1.0)]
    moved = {}
    for name in ("adam", "nadam"):
        tx, params = optimizer(name, learning_rate=1.0), {"kernel": jnp.zeros((1, 1))}
        state = tx.init(params)
        for gradient in gradients:
            updates, state = tx.update({"kernel": gradient}, state, params)
        moved[name] = float(updates["kernel"][0, 0])
    # Both remember the first gradient; Nesterov's counts the new one twice.
    assert moved["nadam"] > moved["adam"]


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (3, 3, 2, 5)])
def test_muon_moves_a_hidden_kernel_by_an_orthogonal_matrix_of_adams_size(shape):
    rng = np.random.default_rng(0)
    gradient = jnp.asarray(rng.normal(size=shape) * 1e-3, jnp.float32)
    params = {"body": {"kernel": jnp.zeros(shape)}}
    after = updates_of(optimizer("muon", learning_rate=1.0), {"body": {"kernel": gradient}}, params)
    matrix = -np.asarray(after["body"]["kernel"]).reshape(-1, shape[-1])
    assert np.sqrt(np.mean(matrix**2)) == pytest.approx(
        0.2 * math.sqrt(max(matrix.shape) * min(matrix.shape) / matrix.size), rel=0.3
    )
    singular = np.linalg.svd(matrix, compute_uv=False) / (0.2 * math.sqrt(max(matrix.shape)))
    # Five Newton-Schulz steps bring every singular value near 1, whatever it was before.
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    assert np.sum(matrix * np.asarray(gradient).reshape(matrix.shape)) > 0


def test_muon_leaves_the_head_biases_scales_and_embeddings_to_adam():
    params, gradients = tree(), tree(2)
    muon = updates_of(optimizer("muon"), gradients, params, steps=2)
    adams = updates_of(optimizer("adam"), gradients, params, steps=2)
    for name in ("norm", "embed", "head"):
        assert_same(muon[name], adams[name])
    assert_same(muon["body"]["bias"], adams["body"]["bias"])
    assert np.max(np.abs(muon["body"]["kernel"] - adams["body"]["kernel"])) > 1e-2


def test_adafactor_keeps_two_vectors_for_a_large_matrix():
    params = {"kernel": jnp.ones((256, 512))}
    numbers = sum(x.size for x in jax.tree.leaves(optimizer("adafactor").init(params)))
    assert 256 + 512 <= numbers < 2 * (256 + 512)
    whole = sum(x.size for x in jax.tree.leaves(optimizer("adam").init(params)))
    assert whole >= 2 * 256 * 512


def test_unknown_names_are_named():
    with pytest.raises(UserError, match="unknown optimizer 'adamv'; did you mean 'adam"):
        optimizer("adamv")
    with pytest.raises(UserError, match=r"unknown option of sgd 'momentun'; did you mean 'moment"):
        optimizer("sgd", own={"momentun": 0.9})


def test_options_of_other_optimizers_are_not_read():
    tx = optim.make_optimizer(
        CONSTANT,
        decay(),
        name="sgd",
        learning_rate=1.0,
        clip_norm=0.0,
        options={"adam": {"nonsense": 1}, "sgd": {"momentum": 0.0}},
    )
    after = updates_of(tx, {"kernel": jnp.ones((1, 1))}, {"kernel": jnp.zeros((1, 1))})
    assert float(after["kernel"][0, 0]) == -1.0


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("optimizer", {"learning_rate": -0.1}),
        ("optimizer", {"clip_norm": -1.0}),
        ("optimizer", {"learning_rate": math.nan}),
        ("regularization", {"weight_decay": -0.1}),
        ("regularization", {"l2": -0.1}),
        ("regularization", {"l1": -0.1}),
    ],
)
def test_negative_numbers_are_refused(section, values):
    with pytest.raises(UserError, match=f"{section}.{next(iter(values))} must be at least 0, got"):
        optimizer("sgd", **values)


def test_the_learning_rate_is_the_peak_times_the_schedule():
    tx = optimizer("sgd", 0.5, schedule=schedule("linear", num_steps=10), own={"momentum": 0.0})
    params = {"kernel": jnp.zeros((1, 1))}
    state, moves = tx.init(params), []
    for _ in range(4):
        updates, state = tx.update({"kernel": jnp.ones((1, 1))}, state, params)
        moves.append(float(updates["kernel"][0, 0]))
    assert moves == pytest.approx([-0.5, -0.45, -0.4, -0.35])


# Clipping.


def test_clipping_scales_a_large_gradient_down_and_leaves_a_small_one():
    params = {"a": {"kernel": jnp.zeros((2, 1))}, "b": {"bias": jnp.zeros(1)}}
    gradients = {"a": {"kernel": jnp.asarray([[3.0], [0.0]])}, "b": {"bias": jnp.asarray([4.0])}}

    def after(clip_norm):
        tx = optimizer("sgd", 1.0, clip_norm, own={"momentum": 0.0})
        return updates_of(tx, gradients, params)

    # One norm over all parameters, here 5.
    assert_same(after(1.0), jax.tree.map(lambda g: -g / 5, gradients))
    assert_same(after(5.1), jax.tree.map(lambda g: -g, gradients))
    assert_same(after(0.0), jax.tree.map(lambda g: -g, gradients))


def test_clipping_is_of_the_gradient_and_not_of_the_penalties():
    params, gradients = {"kernel": jnp.full((1, 1), 10.0)}, {"kernel": jnp.full((1, 1), 100.0)}
    for penalty in ("l2", "weight_decay"):
        tx = optimizer("sgd", 1.0, 1.0, own={"momentum": 0.0}, **{penalty: 0.5})
        after = updates_of(tx, gradients, params)
        assert float(after["kernel"][0, 0]) == pytest.approx(10 - 1 - 0.5 * 10)


def test_gradients_are_averaged_over_replicas():
    tx = optim.average_gradients("replica")

    def update(gradients):
        return tx.update(gradients, tx.init(gradients))[0]

    averaged = jax.pmap(update, axis_name="replica")({"w": jnp.arange(8.0)})
    np.testing.assert_array_equal(averaged["w"], np.full(8, 3.5))
    alone = optim.average_gradients(None)
    assert float(alone.update({"w": jnp.asarray(3.0)}, alone.init({}))[0]["w"]) == 3.0
