"""Optimizers against NumPy and by contract, schedules at named steps, penalties by their effect."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import core, models, optim
from cnn.checkpoint import Checkpoints
from cnn.errors import UserError

NAMES = sorted(optim.OPTIMIZERS)
CONSTANT = optax.constant_schedule(1.0)


def decay(**values):
    penalties = {"weight_decay": 0.0, "l2": 0.0, "l1": 0.0, "apply_to": "kernels"}
    return optim.make_decay(**{**penalties, **values})


def optimizer(name, learning_rate=0.1, clip_norm=0.0, schedule=CONSTANT, own=None, **penalties):
    return optim.make_optimizer(
        schedule,
        decay(**penalties),
        name=name,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        options={name: own or {}},
    )


def tree(seed=0):
    """Parameters with a hidden and a last kernel, a bias, a scale and an embedding."""
    rng = np.random.default_rng(seed)
    shapes = {
        "body": {"kernel": (6, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
        "embed": {"embedding": (3, 4)},
        "head": {"logits": {"kernel": (4, 2), "bias": (2,)}},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def updates_of(tx, gradients, params, steps=1):
    """The parameters after so many steps of the same gradient."""

    @jax.jit
    def run(params):
        state = tx.init(params)
        for _ in range(steps):
            updates, state = tx.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return run(params)


def assert_same(left, right, **tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-7, **tolerance}),
        left,
        right,
    )


# Every optimizer keeps to this.


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
    tx = optimizer(name, rate, weight_decay=1e-4, l2=1e-4, l1=1e-5, clip_norm=10.0)
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
    after = updates_of(optimizer(name, learning_rate=1e-3), gradients, params)
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


def lion(t, g, p, memory):
    direction = np.sign(0.9 * memory.get("m", 0) + 0.1 * g)
    memory["m"] = 0.99 * memory.get("m", 0) + 0.01 * g
    return direction


def rmsprop(t, g, p, memory):
    memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * g**2
    return g / np.sqrt(memory["v"] + 1e-8)


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
        ("lion", {}, {}, lion),
        ("rmsprop", {}, {}, rmsprop),
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


# Schedules.


def schedule(name, num_steps=100, **values):
    """Of 10 steps an epoch."""
    defaults = {"warmup_epochs": 0.0, "end_factor": 0.0, "decay_epochs": (), "decay_rate": 0.1}
    return optim.make_schedule(num_steps, 10, name=name, **{**defaults, **values})


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("constant", {}, {0: 1, 50: 1, 99: 1}),
        ("cosine", {}, {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0, 200: 0}),
        ("cosine", {"end_factor": 0.2}, {0: 1, 50: 0.6, 100: 0.2}),
        ("linear", {}, {0: 1, 25: 0.75, 50: 0.5, 99: 0.01, 100: 0}),
        ("linear", {"end_factor": 0.5}, {0: 1, 50: 0.75, 100: 0.5, 150: 0.5}),
        (
            "step",
            {"decay_epochs": (3.0, 6.0), "decay_rate": 0.1},
            {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 99: 0.01},
        ),
        ("step", {"decay_epochs": (2.55,), "decay_rate": 0.5}, {25: 1, 26: 0.5}),
        ("step", {"decay_epochs": (3.0, 3.0)}, {29: 1, 30: 0.01}),
        ("step", {"decay_epochs": ()}, {0: 1, 99: 1}),
        (
            "exponential",
            {"decay_epochs": (2.0,), "decay_rate": 0.25},
            {0: 1, 10: 0.5, 20: 0.25, 40: 0.0625},
        ),
    ],
)
def test_schedule_at_named_steps(name, values, expected):
    made = schedule(name, **values)
    assert {step: float(made(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


RISE = {0: 0, 5: 0.25, 10: 0.5, 19: 0.95}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("constant", {}, {20: 1, 99: 1}),
        ("cosine", {}, {20: 1, 60: 0.5, 100: 0}),
        ("linear", {"end_factor": 0.5}, {20: 1, 60: 0.75, 100: 0.5}),
        # Papers count the epochs of their steps from the start of the training.
        ("step", {"decay_epochs": (3.0, 6.0)}, {20: 1, 29: 1, 30: 0.1, 60: 0.01}),
        ("step", {"decay_epochs": (0.5, 1.0, 6.0)}, {20: 0.01, 59: 0.01, 60: 0.001}),
        ("exponential", {"decay_epochs": (2.0,), "decay_rate": 0.25}, {20: 1, 30: 0.5, 40: 0.25}),
    ],
)
def test_every_schedule_warms_up_from_zero(name, values, expected):
    made = schedule(name, warmup_epochs=2.0, **values)
    expected = {**RISE, **expected}
    assert {step: float(made(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_a_trial_that_ends_within_the_warm_up_is_legal():
    made = schedule("cosine", num_steps=5, warmup_epochs=2.0)
    assert float(made(4)) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["cosine", "step", "exponential"])
def test_a_schedule_is_traced(name):
    made = schedule(name, warmup_epochs=1.0, decay_epochs=(4.0,))
    steps = jnp.arange(100)
    traced = jax.jit(jax.vmap(made))(steps)
    np.testing.assert_allclose(traced, [float(made(step)) for step in range(100)], atol=1e-6)


def test_the_learning_rate_is_the_peak_times_the_schedule():
    tx = optimizer("sgd", 0.5, schedule=schedule("linear", num_steps=10), own={"momentum": 0.0})
    params = {"kernel": jnp.zeros((1, 1))}
    state, moves = tx.init(params), []
    for _ in range(4):
        updates, state = tx.update({"kernel": jnp.ones((1, 1))}, state, params)
        moves.append(float(updates["kernel"][0, 0]))
    assert moves == pytest.approx([-0.5, -0.45, -0.4, -0.35])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"name": "exponential"}, "exponential schedule needs schedule.decay_epochs"),
        ({"name": "cosine", "warmup_epochs": -1.0}, "schedule.warmup_epochs must be at least 0"),
        ({"name": "cosine", "end_factor": -0.1}, "schedule.end_factor must be at least 0"),
        ({"name": "step", "decay_rate": -0.1}, "schedule.decay_rate must be at least 0"),
        ({"name": "step", "decay_epochs": (3.0, -1.0)}, "schedule.decay_epochs must be at least 0"),
    ],
)
def test_wrong_schedules_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        schedule(**values)


# Penalties.


def penalised_gradient(params, gradients, penalty):
    """The gradients of a loss that has `gradients`, plus the penalty on every kernel."""

    def loss_fn(params):
        linear = sum(
            jnp.sum(x * g)
            for x, g in zip(jax.tree.leaves(params), jax.tree.leaves(gradients), strict=True)
        )
        kernels = [params["body"]["kernel"], params["head"]["logits"]["kernel"]]
        return linear + sum(penalty(kernel) for kernel in kernels)

    return jax.grad(loss_fn)(params)


@pytest.mark.parametrize(
    ("name", "penalties", "penalty"),
    [
        ("sgd", {"l2": 0.3}, lambda w: 0.3 / 2 * jnp.sum(w**2)),
        ("lion", {"l1": 0.3}, lambda w: 0.3 * jnp.sum(jnp.abs(w))),
        (
            "adam",
            {"l2": 0.2, "l1": 0.1},
            lambda w: 0.2 / 2 * jnp.sum(w**2) + 0.1 * jnp.sum(jnp.abs(w)),
        ),
    ],
)
def test_coupled_penalties_are_terms_of_the_loss(name, penalties, penalty):
    # Gradients so small that the penalty decides, also where only their sign counts.
    params, gradients = tree(), jax.tree.map(lambda g: 0.1 * g, tree(2))
    coupled = updates_of(optimizer(name, **penalties), gradients, params)
    by_loss = updates_of(optimizer(name), penalised_gradient(params, gradients, penalty), params)
    assert_same(coupled, by_loss)
    without = updates_of(optimizer(name), gradients, params)
    assert np.max(np.abs(coupled["body"]["kernel"] - without["body"]["kernel"])) > 0.01


@pytest.mark.parametrize("name", sorted({*NAMES} - {"lamb"}))  # whose trust ratio rescales it
def test_decoupled_decay_is_learning_rate_times_decay_times_parameter(name):
    params, gradients = tree(), tree(2)
    plain = updates_of(optimizer(name), gradients, params)
    decayed = updates_of(optimizer(name, weight_decay=0.3), gradients, params)
    moved = decayed["body"]["kernel"] - plain["body"]["kernel"]
    np.testing.assert_allclose(moved, -0.1 * 0.3 * params["body"]["kernel"], rtol=1e-3, atol=1e-6)


def test_coupled_and_decoupled_are_one_under_plain_sgd_and_two_under_adam():
    # Loshchilov and Hutter 2019, propositions 1 and 2.
    params, gradients = tree(), tree(2)

    def kernels(name, **penalties):
        own = {"momentum": 0.0} if name == "sgd" else {}
        after = updates_of(optimizer(name, own=own, **penalties), gradients, params, steps=3)
        return after["body"]["kernel"]

    np.testing.assert_allclose(kernels("sgd", l2=0.3), kernels("sgd", weight_decay=0.3), rtol=1e-5)
    difference = np.abs(kernels("adam", l2=0.3) - kernels("adam", weight_decay=0.3))
    assert np.max(difference) > 0.01
    # Adam divides the coupled pull by the gradient's size, so large gradients are pulled less.
    large = jax.tree.map(lambda g: 1000 * g, gradients)
    plain = updates_of(optimizer("adam"), large, params)["body"]["kernel"]
    coupled = updates_of(optimizer("adam", l2=0.3), large, params)["body"]["kernel"]
    decoupled = updates_of(optimizer("adam", weight_decay=0.3), large, params)["body"]["kernel"]
    np.testing.assert_allclose(coupled, plain, atol=1e-5)
    assert np.max(np.abs(decoupled - plain)) > 0.01


@pytest.mark.parametrize("penalty", ["weight_decay", "l2", "l1"])
def test_penalties_spare_biases_scales_and_embeddings_unless_told(penalty):
    params = jax.tree.map(lambda x: x + 2 * jnp.sign(x), tree())  # none near 0
    zeros = jax.tree.map(jnp.zeros_like, params)

    def moved(**values):
        after = updates_of(optimizer("sgd", **values), zeros, params)
        flat = jax.tree_util.tree_flatten_with_path(
            jax.tree.map(lambda old, new: bool(jnp.all(jnp.abs(new) < jnp.abs(old))), params, after)
        )[0]
        return {path[-1].key for path, shrunk in flat if shrunk}

    assert moved(**{penalty: 0.1}) == {"kernel"}
    assert moved(**{penalty: 0.1}, apply_to="all") == {"kernel", "bias", "scale", "embedding"}


@pytest.mark.parametrize("name", ["lenet_test", "resnet_test", "convnext_test", "vit_test"])
def test_what_is_a_kernel_in_a_real_network(name):
    info = models.describe(name)
    model = models.classifier(name, num_classes=5)
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]
    flat = jax.tree_util.tree_flatten_with_path(optim.kernels(shapes))[0]
    leaves = jax.tree.leaves(shapes)
    assert any(is_kernel for _, is_kernel in flat)
    for (path, is_kernel), leaf in zip(flat, leaves, strict=True):
        # Weights multiply what comes in, so they have two axes or more; embeddings are added.
        added = path[-1].key in ("position_embedding", "class_token")
        assert is_kernel == (leaf.ndim >= 2 and not added), jax.tree_util.keystr(path)


def test_an_unknown_mask_is_named():
    with pytest.raises(UserError, match=r"unknown value of regularization\.apply_to 'kernel'"):
        decay(apply_to="kernel")


@pytest.fixture(scope="module")
def regressions():
    """Weights of a linear regression on 20 features of which 3 matter, by penalty."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(60, 20)), jnp.float32)
    truth = np.zeros((20, 1), np.float32)
    truth[:3, 0] = (2.0, -1.0, 1.5)
    y = x @ truth + 0.3 * jnp.asarray(rng.normal(size=(60, 1)), jnp.float32)

    def fit(**penalties):
        steps = 1000
        tx = optimizer(
            "sgd",
            learning_rate=0.1,
            schedule=schedule("linear", num_steps=steps),
            own={"momentum": 0.0},
            **penalties,
        )

        def body(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: jnp.mean((x @ p["kernel"] - y) ** 2) / 2)(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        params = {"kernel": jnp.zeros((20, 1))}
        (params, _), _ = jax.lax.scan(body, (params, tx.init(params)), length=steps)
        return np.asarray(params["kernel"])[:, 0]

    return {
        "none": fit(),
        "l1": fit(l1=0.15),
        "l2": fit(l2=0.15),
        "weight_decay": fit(weight_decay=0.15),
        "x": np.asarray(x),
        "y": np.asarray(y)[:, 0],
    }


def test_l1_makes_weights_zero_and_the_others_do_not(regressions):
    small = {name: np.abs(regressions[name][3:]) < 1e-3 for name in ("none", "l1", "l2")}
    assert small["l1"].sum() >= 15
    assert small["none"].sum() <= 1
    assert small["l2"].sum() <= 1
    # What matters is pulled by about the penalty, and stays.
    for name in ("none", "l1"):
        assert np.all(np.abs(regressions[name][:3]) > 0.7)
    pull = np.abs(regressions["none"][:3]) - np.abs(regressions["l1"][:3])
    assert np.all((pull > 0.05) & (pull < 0.3))


def test_l1_ends_where_its_optimum_is(regressions):
    # |gradient| <= l1 where the weight is 0, gradient = -l1 * sign elsewhere.
    w, x, y = (regressions[name].astype(np.float64) for name in ("l1", "x", "y"))
    gradient = x.T @ (x @ w - y) / len(y)
    there = np.abs(w) > 1e-2
    np.testing.assert_allclose(gradient[there], -0.15 * np.sign(w[there]), atol=0.01)
    assert np.all(np.abs(gradient[~there]) < 0.15 + 0.01)


@pytest.mark.parametrize("name", ["l2", "weight_decay"])
def test_l2_ends_at_ridge_regression(regressions, name):
    x, y = regressions["x"].astype(np.float64), regressions["y"].astype(np.float64)
    ridge = np.linalg.solve(x.T @ x / len(y) + 0.15 * np.eye(20), x.T @ y / len(y))
    np.testing.assert_allclose(regressions[name], ridge, atol=1e-3)
    assert np.linalg.norm(regressions[name]) < 0.95 * np.linalg.norm(regressions["none"])


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


# Averages.


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

    return core.Task(init, step, evaluate, evaluate)


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
    for measure in (task.evaluate, task.predict):
        measured = measure(state, BATCH)
        assert float(measured["w"]) == pytest.approx(w, rel=1e-5)
        assert float(measured["mean"]) == pytest.approx(mean, rel=1e-5)


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


def test_gradients_are_averaged_over_replicas():
    tx = optim.average_gradients("replica")

    def update(gradients):
        return tx.update(gradients, tx.init(gradients))[0]

    averaged = jax.pmap(update, axis_name="replica")({"w": jnp.arange(8.0)})
    np.testing.assert_array_equal(averaged["w"], np.full(8, 3.5))
    alone = optim.average_gradients(None)
    assert float(alone.update({"w": jnp.asarray(3.0)}, alone.init({}))[0]["w"]) == 3.0
