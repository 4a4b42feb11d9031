"""Penalties by their effect."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, optim
from cnn.errors import UserError
from tests.optim.small import assert_same, decay, optimizer, schedule, tree, updates_of

NAMES = sorted(optim.OPTIMIZERS)


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


def test_masks_by_what_they_leave_out():
    info = models.describe("efficientnet_test")
    model = models.classifier("efficientnet_test", num_classes=5)
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]

    def left_out(mask):
        flat = jax.tree_util.tree_flatten_with_path(optim.MASKS[mask](shapes))[0]
        return {
            jax.tree_util.keystr(path, simple=True, separator="/") for path, on in flat if not on
        }

    paths = left_out("kernels") | left_out("no_depthwise")
    norms = {path for path in paths if "_norm/" in path}
    biases = {path for path in paths if path.endswith("/bias")} - norms
    depthwise = {path for path in paths if path.endswith("depthwise_conv/kernel")}
    assert all((norms, biases, depthwise))
    assert left_out("no_norms") == norms
    assert left_out("kernels") == norms | biases
    assert left_out("no_depthwise") == norms | biases | depthwise
    assert optim.MASKS["all"] is None


@pytest.mark.parametrize("name", [name for name in models.names() if name.endswith("_test")])
def test_in_every_family_a_norm_and_a_depthwise_kernel_can_be_told_by_name(name):
    info = models.describe(name)
    model = models.classifier(name, num_classes=5)
    images = jnp.zeros((1, info.image_size, info.image_size, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        layer, own = path[-2].key, path[-1].key
        if own == "scale":
            # LeNet's trained subsampling has a gain, which is no norm's.
            assert "norm" in layer or layer.startswith("gain"), path
        if own == "kernel" and leaf.ndim == 4 and leaf.shape[2] == 1:
            assert "depthwise" in layer, path


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
