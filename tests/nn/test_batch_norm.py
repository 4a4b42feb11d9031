import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.errors import UserError

X = np.random.default_rng(0).normal(3, 2, (8, 2, 3, 4)).astype(np.float32)


def run(x, train, *, variables=None, **fields):
    norm = nn.BatchNorm(**fields)
    if variables is None:
        variables = norm.init(jax.random.key(0), jnp.asarray(x), train=train)
    return norm.apply(variables, jnp.asarray(x), train=train, mutable=["batch_stats"])


def test_training_normalises_by_the_biased_variance():
    y, _ = run(X, True)
    mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)


def test_running_statistics_are_torchs():
    """0.9 old + 0.1 new, from 0 and 1, with the unbiased variance."""
    _, state = run(X, True)
    stats = state["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * X.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_momentum_is_what_is_kept():
    _, state = run(X, True, momentum=0.75)
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.25 * X.mean((0, 1, 2)), rtol=1e-5)


def test_a_frozen_one_is_in_training_what_it_is_in_evaluation():
    layer, x = nn.BatchNorm(sync=nn.Sync(frozen=True)), jnp.arange(8.0).reshape(2, 2, 2, 1)
    variables = {
        "params": {"scale": jnp.full(1, 3.0), "bias": jnp.ones(1)},
        "batch_stats": {"mean": jnp.full(1, 2.0), "var": jnp.full(1, 4.0)},
    }
    y, moved = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, 3 * (x - 2) / np.sqrt(4 + 1e-5) + 1, rtol=1e-6)
    assert jax.tree.all(
        jax.tree.map(np.array_equal, moved["batch_stats"], variables["batch_stats"])
    )

    def total(params, x):
        return jnp.sum(layer.apply({**variables, "params": params}, x, train=True) ** 2)

    of_params, of_x = jax.grad(total, argnums=(0, 1))(variables["params"], x)
    assert not np.any(of_params["scale"]) and not np.any(of_params["bias"]) and np.all(of_x != 0)
    with pytest.raises(UserError, match="norms that share statistics cannot be frozen"):
        layer.apply(variables, nn.standardise(x), train=True)


def test_evaluation_uses_and_keeps_the_running_statistics():
    mean, var = np.array([1, 2, 3, 4], np.float32), np.array([4, 3, 2, 1], np.float32)
    scale, bias = np.array([1, 2, 1, 2], np.float32), np.array([0, 1, 0, 1], np.float32)
    variables = {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": mean, "var": var},
    }
    y, state = run(X, False, variables=variables)
    np.testing.assert_allclose(
        y, (X - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=1e-5, atol=1e-5
    )
    assert not state or jax.tree.all(
        jax.tree.map(np.array_equal, state["batch_stats"], variables["batch_stats"])
    )


@pytest.mark.parametrize("train", [True, False])
def test_making_parameters_moves_nothing(train):
    variables = nn.BatchNorm(sync=nn.Sync("devices")).init(
        jax.random.key(0), jnp.asarray(X), train=train
    )
    assert np.array_equal(variables["batch_stats"]["mean"], np.zeros(4))
    assert np.array_equal(variables["batch_stats"]["var"], np.ones(4))


def test_over_an_axis_the_batch_is_the_global_one():
    whole, state = run(X, True)
    parts = jnp.asarray(X).reshape(4, 2, *X.shape[1:])
    norm = nn.BatchNorm(sync=nn.Sync("devices"))
    variables = norm.init(jax.random.key(0), parts[0], train=False)

    def step(part):
        return norm.apply(variables, part, train=True, mutable=["batch_stats"])

    y, states = jax.vmap(step, axis_name="devices")(parts)
    np.testing.assert_allclose(y.reshape(X.shape), whole, rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        for device in range(4):
            np.testing.assert_allclose(
                states["batch_stats"][name][device], state["batch_stats"][name], rtol=1e-6
            )


def test_groups_are_batches_of_their_own():
    y, state = run(X, True, sync=nn.Sync(None, 2))
    parts = [run(X[first : first + 2], True) for first in range(0, 8, 2)]
    np.testing.assert_allclose(y, np.concatenate([part for part, _ in parts]), rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        stats = [moved["batch_stats"][name] for _, moved in parts]
        np.testing.assert_allclose(state["batch_stats"][name], np.mean(stats, axis=0), rtol=1e-6)
    whole, _ = run(X, True, sync=nn.Sync(None, 8))
    np.testing.assert_allclose(whole, run(X, True)[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(y, whole, atol=1e-2)


@pytest.mark.parametrize("group_size", [1, 2, 4, 8])
def test_groups_are_the_same_whatever_the_devices(group_size):
    """Two examples a device: groups are parts of one's batch, or several have one together."""
    norm = nn.BatchNorm(sync=nn.Sync(None, group_size))
    variables = norm.init(jax.random.key(0), jnp.asarray(X), train=True)

    def gradient(norm, x):
        def loss(scale):
            params = {"scale": scale, "bias": variables["params"]["bias"]}
            own = {**variables, "params": params}
            y, state = norm.apply(own, x, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), state["batch_stats"]

        return jax.grad(loss, has_aux=True)(variables["params"]["scale"])

    expected, stats = jax.jit(lambda x: gradient(norm, x))(jnp.asarray(X))
    mapped = nn.BatchNorm(sync=nn.Sync("devices", group_size))
    run_parts = jax.pmap(lambda x: gradient(mapped, x), axis_name="devices")
    parts, moved = run_parts(X.reshape(4, 2, *X.shape[1:]))
    np.testing.assert_allclose(parts.sum(0), expected, rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        for device in range(4):
            np.testing.assert_allclose(moved[name][device], stats[name], rtol=1e-5)


@pytest.mark.parametrize("group_size", [3, 16])
def test_groups_that_do_not_fill_the_batch_are_one_line(group_size):
    with pytest.raises(UserError, match=f"norm_group_size is {group_size}, and batch norm sees 8"):
        run(X, True, sync=nn.Sync(None, group_size), variables=run_variables())


def run_variables():
    return nn.BatchNorm().init(jax.random.key(0), jnp.asarray(X), train=True)


def test_bfloat16_keeps_statistics_in_float32():
    y, state = run(X.astype(jnp.bfloat16), True, dtype="bfloat16")
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype("float32")}
    exact = X.astype(jnp.bfloat16).astype(np.float32).mean((0, 1, 2))
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * exact, rtol=1e-5)


def test_a_large_mean_does_not_drown_the_variance():
    x = X + 3000
    _, state = run(x, True)
    np.testing.assert_allclose(
        state["batch_stats"]["var"],
        0.9 + 0.1 * x.astype(np.float64).var((0, 1, 2), ddof=1),
        rtol=1e-4,
    )


def test_one_value_has_a_variance_of_zero():
    _, state = run(X[:1, :1, :1], True)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9, rtol=1e-6)


def plain(x, scale, bias):
    """The definition, for JAX to differentiate."""
    mean = jnp.mean(x, (0, 1, 2), keepdims=True)
    var = jnp.mean(jnp.square(x - mean), (0, 1, 2), keepdims=True)
    y = (x - mean) / jnp.sqrt(var + 1e-5) * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
    return y, 0.1 * mean.ravel(), 0.9 + 0.1 * var.ravel() * 48 / 47


def ours(x, scale, bias):
    stats = {"mean": jnp.zeros(4, x.dtype), "var": jnp.ones(4, x.dtype)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    y, state = nn.BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    return y, state["batch_stats"]["mean"], state["batch_stats"]["var"]


def test_every_derivative_is_that_of_the_definition():
    """Of all outputs by all inputs; forward, reverse, and reverse over reverse."""
    scale, bias = np.float32([1, 2, 3, 0.5]), np.float32([0, 1, 0, 1])
    weights = [np.random.default_rng(n).normal(size=s) for n, s in enumerate([X.shape, 4, 4])]

    def loss(f):
        def total(*args):
            return sum(jnp.vdot(w, jnp.sin(out)) for w, out in zip(weights, f(*args), strict=True))

        return total

    with jax.enable_x64(True):
        args = [jnp.asarray(a, "float64") for a in (X, scale, bias)]
        tangents = jax.tree.map(jnp.cos, args)
        every = (0, 1, 2)

        def twice(f):
            def along(*args):
                gradients = jax.grad(loss(f), every)(*args)
                return sum(jnp.vdot(g, t) for g, t in zip(gradients, tangents, strict=True))

            return jax.grad(along, every)

        for derivative in (
            lambda f: jax.jvp(f, args, tangents)[1],
            lambda f: jax.grad(loss(f), every)(*args),
            lambda f: twice(f)(*args),
        ):
            for got, expected in zip(derivative(ours), derivative(plain), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_of_rounded_images_one_pass_gives_the_variance():
    x = (X + 100).astype(jnp.bfloat16)
    _, state = run(x, True, dtype="bfloat16")
    exact = x.astype(np.float64)
    np.testing.assert_allclose(
        state["batch_stats"]["var"], 0.9 + 0.1 * exact.var((0, 1, 2), ddof=1), rtol=1e-3
    )


def test_the_variance_in_one_pass_is_never_negative():
    x = np.full((8, 2, 3, 4), 1 / 3).astype(jnp.bfloat16)
    y, state = run(x, True, dtype="bfloat16")
    assert np.all(state["batch_stats"]["var"] >= np.float32(0.9))
    assert np.all(np.isfinite(y.astype(np.float32)))


@pytest.mark.parametrize("group_size", [0, 4])
def test_norms_of_one_image_may_share_its_statistics(group_size):
    """Result, running statistics and gradients are those of a norm that takes its own."""
    sync = nn.Sync(None, group_size)
    norm = nn.BatchNorm(sync=sync)
    params = {"scale": jnp.arange(1.0, 5.0), "bias": jnp.arange(4.0)}
    stats = norm.init(jax.random.key(0), jnp.asarray(X), train=True)["batch_stats"]

    def of(see):
        def loss(x, params):
            variables = {"params": params, "batch_stats": stats}
            y, state = norm.apply(variables, see(x), train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), (y, state)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(jnp.asarray(X), params)

    expected = of(lambda x: x)
    shared = of(lambda x: nn.standardise(x, sync=sync))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), shared, expected
    )
