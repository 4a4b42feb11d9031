"""Means that add up, and the step that descends: against NumPy and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import core
from cnn.core import Mean, TrainState, descend


def mean_of(values, weight):
    return Mean.of(jnp.asarray(values), jnp.asarray(weight, jnp.float32))


def test_mean_is_weighted():
    mean = mean_of([1.0, 2.0, 4.0], [1.0, 1.0, 0.5])
    assert float(mean.total) == 5.0
    assert float(mean.weight) == 2.5
    assert float(mean.compute()) == 2.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_example_of_weight_zero_changes_nothing_not_even_by_a_nan(bad):
    assert mean_of([1.0, bad, 3.0], [1, 0, 1]) == mean_of([1.0, 3.0], [1, 1])


def test_a_nan_that_counts_is_seen():
    assert np.isnan(mean_of([1.0, np.nan], [1, 1]).compute())


def test_no_gradient_comes_from_an_example_of_weight_zero():
    weight = jnp.asarray([1.0, 0.0, 1.0])
    values = jnp.asarray([1.0, np.nan, 3.0])
    gradient = jax.grad(lambda x: Mean.of(x, weight).compute())(values)
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])


def test_a_mean_of_nothing_is_nan():
    assert np.isnan(mean_of([1.0, 2.0], [0, 0]).compute())


def test_truths_and_half_precision_are_summed_in_float32():
    assert float(mean_of([True, False, True, True], [1, 1, 1, 1]).compute()) == 0.75
    # 4,000 halves: in bfloat16 the sum would stop at 256 x 0.5.
    mean = mean_of(jnp.full(4000, 0.5, jnp.bfloat16), np.ones(4000))
    assert mean.total.dtype == jnp.float32
    assert float(mean.total) == 2000.0


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.integers(-100, 100), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    data=st.data(),
)
def test_merging_parts_is_measuring_the_whole_however_it_is_cut(values, cuts, data):
    size = len(values)
    weight = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    values, weight = np.asarray(values, np.float32), np.asarray(weight, np.float32)
    whole = {"a": mean_of(values, weight), "b": mean_of(values**2, weight)}
    merged = jax.tree.map(jnp.zeros_like, whole)
    borders = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, stop in itertools.pairwise(borders):
        part = slice(start, stop)
        merged = core.merge(
            merged,
            {
                "a": mean_of(values[part], weight[part]),
                "b": mean_of(values[part] ** 2, weight[part]),
            },
        )
    assert jax.device_get(merged) == jax.device_get(whole)


def test_compute_gives_the_values_by_name():
    metrics = {"loss": mean_of([2.0, 4.0], [1, 1]), "accuracy": mean_of([True, False], [1, 1])}
    assert {name: float(value) for name, value in core.compute(metrics).items()} == {
        "loss": 3.0,
        "accuracy": 0.5,
    }


def squares(params, model_state, batch, key):
    """Linear regression whose model state counts calls and whose metric shows what key came."""
    errors = batch["x"] @ params["w"] - batch["y"]
    mean = Mean.of(errors**2, batch["weight"])
    draw = jax.random.uniform(key)
    metrics = {"loss": mean, "draw": Mean(draw, jnp.ones(()))}
    new_state = {"calls": model_state["calls"] + 1, "last": errors[-1]}
    return mean.compute(), (new_state, metrics)


def problem(count=12, seed=0):
    rng = np.random.default_rng(seed)
    batch = {
        "x": rng.normal(size=(count, 3)).astype(np.float32),
        "y": rng.normal(size=count).astype(np.float32),
        "weight": np.ones(count, np.float32),
    }
    params = {"w": rng.normal(size=3).astype(np.float32)}
    return jax.tree.map(jnp.asarray, (params, batch))


def state_of(params, tx):
    model_state = {"calls": jnp.zeros((), jnp.int32), "last": jnp.zeros(())}
    return TrainState(
        jnp.zeros((), jnp.int32), params, model_state, tx.init(params), ema=jnp.asarray(7.0)
    )


def test_a_step_is_gradient_descent_on_the_mean_loss():
    params, batch = problem()
    tx = optax.sgd(0.1)
    new, metrics = descend(squares, tx)(state_of(params, tx), batch, jax.random.key(3))
    x, y, w = (np.asarray(a, np.float64) for a in (batch["x"], batch["y"], params["w"]))
    errors = x @ w - y
    np.testing.assert_allclose(new.params["w"], w - 0.1 * 2 * x.T @ errors / 12, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"].compute(), np.mean(errors**2), rtol=1e-5)
    assert float(metrics["loss"].weight) == 12
    assert int(new.step) == 1
    assert new.step.dtype == jnp.int32
    assert int(new.model_state["calls"]) == 1
    assert float(new.ema) == 7.0  # left to whoever keeps one
    assert float(metrics["draw"].total) == float(jax.random.uniform(jax.random.key(3)))


def test_the_optimizer_sees_its_own_state_and_the_parameters():
    params, batch = problem()
    tx = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1, momentum=0.9))
    step = jax.jit(descend(squares, tx))
    state = state_of(params, tx)
    x, y, w = (np.asarray(a, np.float64) for a in (batch["x"], batch["y"], params["w"]))
    trace = np.zeros(3)
    for _ in range(3):
        state, _ = step(state, batch, jax.random.key(0))
        trace = 0.9 * trace + 2 * x.T @ (x @ w - y) / 12 + 0.5 * w
        w = w - 0.1 * trace
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    assert int(state.step) == 3


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_accumulation_is_the_step_of_the_whole_batch(parts):
    params, batch = problem()
    tx = optax.adam(0.1)
    key = jax.random.key(0)
    whole, metrics = jax.jit(descend(squares, tx))(state_of(params, tx), batch, key)
    step = jax.jit(descend(squares, tx, accumulate_steps=parts))
    cut, cut_metrics = step(state_of(params, tx), batch, key)
    for left, right in zip(
        jax.tree.leaves((whole.params, whole.opt_state)),
        jax.tree.leaves((cut.params, cut.opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cut_metrics["loss"], metrics["loss"], rtol=1e-6)
    assert int(cut.step) == 1  # one update, however many parts
    assert int(cut.model_state["calls"]) == parts  # each part goes on where the last one ended
    assert float(cut.model_state["last"]) == pytest.approx(float(whole.model_state["last"]))


def test_parts_are_spread_over_the_batch_and_each_example_is_in_one():
    params, batch = problem()

    def loss_fn(params, model_state, batch, key):
        loss, (_, metrics) = squares(params, {"calls": 0, "last": 0}, batch, key)
        # Shifts what came before, so that the state shows each part's examples in order.
        seen = jnp.roll(model_state["seen"], 4).at[:4].set(batch["y"])
        return loss, ({"seen": seen}, metrics)

    tx = optax.sgd(0.1)
    state = state_of(params, tx)._replace(model_state={"seen": jnp.zeros(12)})
    new, _ = descend(loss_fn, tx, accumulate_steps=3)(state, batch, jax.random.key(0))
    seen = np.asarray(new.model_state["seen"]).reshape(3, 4)[::-1]
    # A batch that is cut over devices in contiguous pieces gives each part a piece of each device.
    np.testing.assert_array_equal(seen, np.asarray(batch["y"]).reshape(4, 3).T)


def test_each_part_draws_by_its_own_key():
    params, batch = problem()
    tx = optax.sgd(0.1)
    key = jax.random.key(5)
    step = descend(squares, tx, accumulate_steps=3)
    _, metrics = step(state_of(params, tx), batch, key)
    draws = [float(jax.random.uniform(jax.random.fold_in(key, part))) for part in range(3)]
    assert len(set(draws)) == 3
    assert float(metrics["draw"].total) == pytest.approx(sum(draws))


def test_a_batch_that_does_not_divide_is_an_error():
    params, batch = problem()
    tx = optax.sgd(0.1)
    step = jax.jit(descend(squares, tx, accumulate_steps=5))
    with pytest.raises(ValueError, match="5 parts do not divide a batch of 12"):
        step(state_of(params, tx), batch, jax.random.key(0))


def test_accumulation_needs_the_memory_of_one_part():
    # The point of it: a batch four times as large in about the same memory.
    width, count = 256, 512
    params = {f"w{layer}": jnp.ones((width, width)) / width for layer in range(8)}
    batch = {"x": jnp.ones((count, width)), "weight": jnp.ones(count)}

    def loss_fn(params, model_state, batch, key):
        x = batch["x"]
        for w in params.values():
            x = jnp.tanh(x @ w)
        mean = Mean.of(jnp.sum(x**2, axis=1), batch["weight"])
        return mean.compute(), (model_state, {"loss": mean})

    tx = optax.sgd(0.1)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params))

    def temporary_bytes(parts):
        step = jax.jit(descend(loss_fn, tx, accumulate_steps=parts))
        compiled = step.lower(state, batch, jax.random.key(0)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # The sums of the gradients cost memory of their own.
    gradients = 8 * width * width * 4
    assert temporary_bytes(8) - 2 * gradients < 0.4 * temporary_bytes(1)
