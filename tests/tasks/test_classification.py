"""Classification: formulas, padding, accumulation, dropout, training, mixed precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnn import core, models, optim, parallel
from cnn.errors import UserError
from cnn.tasks import classification
from tests.tasks.small import (
    KEY,
    assert_same,
    batch_of,
    evaluate,
    init,
    norm,
    numpy_log_softmax,
    padded,
    predict,
    recorder,
    remember_gradient,
    step,
    values,
)

SGD = optax.sgd(0.1)


class Linear(linen.Module):
    """Dropout of the pixels and one dense layer."""

    num_classes: int = 5
    dropout_rate: float = 0.0

    @linen.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(images.shape[0], -1)
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        return linen.Dense(self.num_classes, name="logits")(x)


def make(model=None, tx=SGD, **options):
    defaults = {
        "label_smoothing": 0.0,
        "top_k": 0,
        "auxiliary_weight": 0.3,
        "accumulate_steps": 1,
    }
    return classification.make(model or Linear(), tx, **{**defaults, **options})


def real_network(name, **fields):
    """A network with a batch of its own kind of images."""
    info = models.describe(name)
    shape = (info.image_size, info.image_size, info.channels)
    return models.classifier(name, num_classes=5, **fields), batch_of(8, shape)


def test_the_state_before_the_first_step():
    model, batch = real_network("resnet_test")
    state = init(make(model, optax.adam(1e-3)), batch)
    assert int(state.step) == 0
    assert state.step.dtype == jnp.int32
    assert set(state.model_state) == {"batch_stats"}
    assert state.ema is None
    make_variables = jax.jit(lambda key: model.init({"params": key}, batch["image"], train=False))
    assert_same(state.params, make_variables(KEY)["params"], rtol=1e-6)
    assert set(init(make(), batch_of()).model_state) == set()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_loss_of_a_step_is_cross_entropy_with_smoothed_labels(smoothing):
    task, batch = make(label_smoothing=smoothing), batch_of()
    state = init(task, batch)
    _, metrics = step(task, state, batch)
    logs = numpy_log_softmax(predict(task, state, batch)["logits"])
    true = logs[np.arange(8), np.asarray(batch["label"])]
    # Szegedy et al. 2016, equation 7: (1 - s) of the target on the label, s / K on every class.
    expected = np.mean(-(1 - smoothing) * true - smoothing / 5 * logs.sum(axis=-1))
    assert values(metrics)["loss"] == pytest.approx(expected, rel=1e-5)
    # What is reported of an evaluation can be compared whatever the smoothing was.
    evaluated = values(evaluate(task, state, batch))
    assert evaluated["loss"] == pytest.approx(-np.mean(true), rel=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_smoothing_that_cannot_be_is_refused(smoothing):
    with pytest.raises(UserError, match=r"task\.label_smoothing must be in \[0, 1\), got"):
        make(label_smoothing=smoothing)


def logits_task(**options):
    """A task whose logits are the first pixels of the image, as they are."""

    class Identity(linen.Module):
        def __call__(self, images, *, train=False):
            return images[:, 0, :, 0]

    return make(Identity(), optax.identity(), **options)


def logits_batch(logits, labels):
    image = jnp.asarray(logits, jnp.float32)[:, None, :, None]
    return {
        "image": image,
        "label": jnp.asarray(labels, jnp.int32),
        "weight": jnp.ones(len(labels)),
    }


def evaluate_logits(logits, labels, **options):
    state = core.TrainState(jnp.zeros((), jnp.int32), {}, {}, ())
    return values(evaluate(logits_task(**options), state, logits_batch(logits, labels)))


RANKING = [[5.0, 4, 3, 2, 1], [1.0, 2, 3, 4, 5], [0.0, 9, 8, 7, 6], [3.0, 1, 2, 5, 4]]


@pytest.mark.parametrize(
    ("top_k", "expected"), [(1, 0.25), (2, 0.5), (3, 0.75), (5, 1.0), (9, 1.0)]
)
def test_top_k_counts_the_label_among_the_k_best(top_k, expected):
    # The labels have ranks 1, 2, 5 and 3.
    measured = evaluate_logits(RANKING, [0, 3, 0, 0], top_k=top_k)
    assert measured[f"top{top_k}_accuracy"] == expected
    assert measured["accuracy"] == 0.25


def test_top_k_is_measured_in_steps_too_and_only_when_asked_for():
    batch = batch_of()
    for top_k, names in ((0, {"loss", "accuracy"}), (2, {"loss", "accuracy", "top2_accuracy"})):
        task = make(top_k=top_k)
        state = init(task, batch)
        assert set(step(task, state, batch)[1]) == names
        assert set(evaluate(task, state, batch)) == names
    with pytest.raises(UserError, match=r"task\.top_k must be at least 0, got -1"):
        make(top_k=-1)


def test_large_logits_do_not_overflow():
    measured = evaluate_logits([[1e4, 0, 0, 0, 0], [0, 1e4, 0, 0, 0]], [0, 2])
    assert measured["loss"] == pytest.approx(5000.0)


def test_predict_gives_logits_and_their_probabilities_and_needs_no_label():
    task, batch = make(), batch_of()
    outputs = predict(task, init(task, batch), {"image": batch["image"]})
    assert set(outputs) == {"logits", "probabilities"}
    expected = np.exp(numpy_log_softmax(outputs["logits"]))
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-5)


# Padding.


@pytest.mark.parametrize("fill", [0.0, 1e3, np.nan, np.inf])
def test_padded_examples_change_nothing_in_a_step(fill):
    task = make(tx=optax.adam(0.1), label_smoothing=0.1, top_k=2)
    batch = batch_of()
    state = init(task, batch)
    alone, alone_metrics = step(task, state, batch)
    among, among_metrics = step(task, state, padded(batch, fill))
    assert_same(among.params, alone.params, rtol=1e-5, atol=1e-6)
    assert values(among_metrics) == pytest.approx(values(alone_metrics), rel=1e-5)
    assert float(among_metrics["loss"].weight) == 8


def test_without_weights_every_example_counts_1():
    task = make(tx=optax.adam(0.1), label_smoothing=0.1, top_k=2)
    batch = batch_of()
    state = init(task, batch)
    alone, alone_metrics = step(task, state, batch)
    bare = {name: x for name, x in batch.items() if name != "weight"}
    new, metrics = step(task, state, bare)
    assert_same(new.params, alone.params, rtol=1e-6, atol=1e-7)
    assert values(metrics) == pytest.approx(values(alone_metrics), rel=1e-6)
    assert float(metrics["loss"].weight) == 8


@pytest.mark.parametrize("fill", [1e3, np.nan])
def test_padded_examples_change_nothing_in_an_evaluation_with_batch_norm_either(fill):
    model, batch = real_network("resnet_test")
    task = make(model, top_k=2)
    state = init(task, batch)
    among = evaluate(task, state, padded(batch, fill))
    assert values(among) == pytest.approx(values(evaluate(task, state, batch)), rel=1e-5)
    assert {float(metric.weight) for metric in among.values()} == {8.0}


def test_the_padding_of_a_step_leaves_batch_norm_finite():
    model, batch = real_network("resnet_test")
    task = make(model)
    new, metrics = step(task, init(task, batch), padded(batch, np.nan))
    for leaf in jax.tree.leaves((new, values(metrics))):
        assert np.all(np.isfinite(leaf))


# Accumulation.


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_equals_the_whole_batch_without_batch_norm(parts):
    model, batch = real_network("lenet_test")
    options = {"tx": recorder(), "label_smoothing": 0.1, "top_k": 2}
    whole = make(model, **options)
    cut = make(model, **options, accumulate_steps=parts)
    state = init(whole, batch)
    whole_state, whole_metrics = step(whole, state, batch)
    cut_state, cut_metrics = step(cut, state, batch)
    assert_same(cut_state.opt_state[0], whole_state.opt_state[0], rtol=1e-6, atol=1e-6)
    assert norm(cut_state.opt_state[0]) > 0.01
    assert values(cut_metrics) == pytest.approx(values(whole_metrics), rel=1e-6)
    assert float(cut_metrics["accuracy"].weight) == 8
    assert int(cut_state.step) == 1


def test_accumulation_with_batch_norm_moves_the_statistics_once_a_part():
    model, batch = real_network("resnet_test")
    cut = make(model, recorder(), accumulate_steps=2)
    state = init(cut, batch)
    after, _ = step(cut, state, batch)
    expected = state.model_state
    forward = jax.jit(functools.partial(classification.forward_train, model))
    for part in range(2):
        *_, expected = forward(state.params, expected, batch["image"][part::2], KEY)
    assert_same(after.model_state, expected, rtol=1e-4, atol=1e-6)


def test_a_batch_that_does_not_divide_is_an_error():
    task, batch = make(accumulate_steps=3), batch_of()
    with pytest.raises(ValueError, match="3 parts do not divide a batch of 8"):
        task.step(init(task, batch), batch, KEY)


# Dropout.


def test_dropout_draws_by_the_key_in_training_and_never_in_evaluation():
    model, batch = real_network("lenet_test", dropout_rate=0.5)
    task = make(model, recorder())
    state = init(task, batch)
    compiled = jax.jit(task.step)
    gradients = [compiled(state, batch, jax.random.key(seed))[0].opt_state[0] for seed in (1, 1, 2)]
    first = [np.asarray(gradient["head"]["logits"]["kernel"]) for gradient in gradients]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.allclose(first[0], first[2])
    without = make(real_network("lenet_test", dropout_rate=0.0)[0])
    for with_it, without_it in (
        (task.evaluate, without.evaluate),
        (task.predict, without.predict),
    ):
        assert_same(jax.jit(with_it)(state, batch), jax.jit(without_it)(state, batch), rtol=1e-6)


def test_dropout_keeps_the_expectation():
    model, batch = Linear(dropout_rate=0.4), batch_of(2)
    state = init(make(model), batch)

    def draw(key):
        return classification.forward_train(model, state.params, {}, batch["image"], key)[0]

    draws = np.asarray(jax.vmap(draw)(jax.random.split(KEY, 4000)))
    expected = np.asarray(predict(make(model), state, batch)["logits"])
    error = draws.std(axis=0) / np.sqrt(4000)
    assert np.all(error > 1e-3)  # it does draw
    assert np.all(np.abs(draws.mean(axis=0) - expected) < 5 * error)


def test_parts_of_a_batch_have_masks_of_their_own():
    # Two equal halves: with one mask for both, the gradient would be that of one.
    model = Linear(dropout_rate=0.5)
    half = batch_of(4)
    both = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), half)
    task = make(model, recorder(), accumulate_steps=2)
    state = init(task, both)
    accumulated = step(task, state, both)[0].opt_state[0]
    one_key = jax.random.fold_in(KEY, 0)
    one = step(make(model, recorder()), state, half, one_key)[0].opt_state[0]
    assert not np.allclose(accumulated["logits"]["kernel"], one["logits"]["kernel"], atol=1e-3)


def test_dropout_narrows_the_gap_between_training_and_test():
    # 40 examples of 100 pixels, three of which tell the class: what there is to overfit is noise.
    rng = np.random.default_rng(0)
    images = rng.normal(size=(540, 10, 10, 1))
    labels = images.reshape(540, 100)[:, :3].argmax(axis=-1)
    everything = {
        "image": jnp.asarray(images, jnp.float32),
        "label": jnp.asarray(labels, jnp.int32),
        "weight": jnp.ones(540),
    }
    train = jax.tree.map(lambda x: x[:40], everything)
    test = jax.tree.map(lambda x: x[40:], everything)

    def losses(rate):
        task = make(Linear(num_classes=3, dropout_rate=rate), optax.adam(0.03))

        def body(state, key):
            return task.step(state, train, key)[0], None

        keys = jax.random.split(KEY, 300)
        state, _ = jax.lax.scan(body, init(task, train), keys)
        return [values(task.evaluate(state, part))["loss"] for part in (train, test)]

    (plain_train, plain_test), (dropped_train, dropped_test) = losses(0.0), losses(0.5)
    assert dropped_test - dropped_train < 0.8 * (plain_test - plain_train)
    assert dropped_test < plain_test
    assert dropped_train > plain_train


# Auxiliary classifiers.


class Auxiliary(linen.Module):
    """A hidden layer, the logits, and two auxiliary classifiers of the hidden layer."""

    @linen.compact
    def __call__(self, images, *, train=False):
        x = linen.tanh(linen.Dense(6)(images.reshape(images.shape[0], -1)))
        for name in ("first", "second"):
            logits = linen.Dense(5, name=name)(x)
            if train:
                self.sow("auxiliary", "auxiliary_logits", logits)
        return linen.Dense(5, name="logits")(x)


def gradient(batch, **options):
    """(gradient of the step, state after it, metrics)."""
    task = make(Auxiliary(), recorder(), **options)
    state = init(task, batch)
    new, metrics = step(task, state, batch)
    return new.opt_state[0], new, metrics


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_auxiliary_losses_are_added_by_their_weight(weight):
    batch = {**batch_of(), "weight": jnp.asarray([1.0, 1, 0, 1, 2, 1, 1, 0.5])}
    ours, new, metrics = gradient(batch, auxiliary_weight=weight, label_smoothing=0.1)
    params = new.params

    def of(logits):
        targets = 0.9 * jax.nn.one_hot(batch["label"], 5) + 0.02
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        return jnp.sum(losses * batch["weight"]) / jnp.sum(batch["weight"])

    def loss(params):
        x = batch["image"].reshape(8, -1)
        dense = {
            name: lambda y, p=p: y @ p["kernel"] + p["bias"][None] for name, p in params.items()
        }
        x = jnp.tanh(dense["Dense_0"](x))
        main, *others = (of(dense[name](x)) for name in ("logits", "first", "second"))
        return main + weight * sum(others), main

    expected, main = jax.grad(loss, has_aux=True)(params)
    assert_same(ours, expected, rtol=1e-4, atol=1e-6)
    for name in ("first", "second"):
        assert np.any(np.asarray(ours[name]["kernel"]) != 0) == (weight > 0)
    # What is reported is the main loss, and nothing is left behind.
    assert values(metrics)["loss"] == pytest.approx(float(main), rel=1e-5)
    assert set(metrics) == {"loss", "accuracy"}
    assert new.model_state == {}


def test_padding_and_parts_are_the_same_with_auxiliary_classifiers():
    batch = batch_of()
    expected, _, _ = gradient(batch)
    for changed, parts in ((padded(batch, np.nan), 1), (batch, 4)):
        ours, _, _ = gradient(changed, accumulate_steps=parts)
        assert_same(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mesh", "pmap"])
def test_auxiliary_losses_over_devices_are_those_of_one(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=8)
    tx = optax.chain(optim.average_gradients(strategy.axis_name), SGD)
    task, batch = make(Auxiliary(), tx), batch_of(16)
    laid_out = strategy.put(jax.tree.map(np.asarray, batch))
    run = strategy.step(lambda state, _, batch, key: task.step(state, batch, key))
    state = strategy.init(task.init, strategy.share(KEY), laid_out)
    shared, _ = run(state, strategy.unpack(jnp.zeros(())), laid_out, strategy.share(KEY))
    alone = make(Auxiliary())
    expected, _ = step(alone, init(alone, batch), batch)
    assert_same(strategy.fetch(shared).params, expected.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_a_weight_of_auxiliary_classifiers_that_cannot_be_is_refused(weight):
    with pytest.raises(UserError, match=r"task\.auxiliary_weight must be at least 0, got"):
        make(auxiliary_weight=weight)


# Training.


@pytest.mark.parametrize("name", ["lenet_test", "resnet_test"])
def test_one_batch_is_learnt_by_heart(name):
    info = models.describe(name)
    batch = batch_of(32, (info.image_size, info.image_size, info.channels))
    task = make(models.classifier(name, num_classes=5), optax.adam(1e-2))
    compiled = jax.jit(task.step, donate_argnums=0)
    state = init(task, batch)
    for index in range(60):
        state, metrics = compiled(state, batch, jax.random.fold_in(KEY, index))
        if values(metrics)["accuracy"] == 1.0 and index > 20:
            break
    # Labels are random, so nothing but the batch itself can be learnt.
    assert values(metrics)["accuracy"] >= 0.97
    assert values(metrics)["loss"] < 0.4


@functools.cache
def first_step(name):
    """(state, next state, metrics) of Adam's first step, whose state begins with the gradient."""
    model, batch = real_network(name)
    tx = optax.chain(remember_gradient(), optax.adam(1e-3))
    task = make(model, tx, label_smoothing=0.1)
    state = init(task, batch)
    return jax.device_get((state, *step(task, state, batch)))


@pytest.mark.parametrize("name", ["lenet_test", "resnet_test", "googlenet_test"])
def test_gradients_reach_every_parameter_and_each_moves(name):
    state, new, _ = first_step(name)
    moved = jax.tree.map(np.subtract, new.params, state.params)
    assert set(new.model_state) == set(state.model_state)
    for tree in (new.opt_state[0], moved):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            assert np.all(np.isfinite(leaf)), jax.tree_util.keystr(path)
            assert np.any(leaf != 0), jax.tree_util.keystr(path)


# Loss of the first step, norm of its gradient, norm of Adam's update.
GOLDEN = {
    "lenet_test": (1.592514515, 0.9119442701, 0.1515356153),
    "resnet_test": (1.606107831, 0.8323265314, 0.07193814963),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_first_step_is_what_it_was(name):
    state, new, metrics = first_step(name)
    update = jax.tree.map(np.subtract, new.params, state.params)
    found = (
        values(metrics)["loss"],
        norm(new.opt_state[0]),
        norm(update),
    )
    assert found == pytest.approx(GOLDEN[name], rel=1e-5), (
        f"the first step of {name} is now {found}. If initialisation, the forward pass, the loss "
        "or the optimizer was changed on purpose, put these numbers into GOLDEN and say why in the "
        "commit; else something changed that should not have."
    )


# Mixed precision.


def float_types(tree):
    leaves = (leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating))
    return {leaf.dtype for leaf in leaves}


@pytest.mark.parametrize("name", ["lenet_test", "resnet_test"])
def test_bfloat16_computes_in_it_and_keeps_everything_in_float32(name):
    model, batch = real_network(name, dtype="bfloat16")
    exact, _ = real_network(name)
    task = make(model, optax.adam(1e-3), top_k=2)
    state = init(task, batch)
    assert float_types(state) == {jnp.dtype(jnp.float32)}
    new, metrics = step(task, state, batch)
    assert float_types(new) == {jnp.dtype(jnp.float32)}
    assert float_types(metrics) == {jnp.dtype(jnp.float32)}
    assert set(new.model_state) == set(state.model_state)
    assert float_types(jax.eval_shape(task.evaluate, state, batch)) == {jnp.dtype(jnp.float32)}
    # Rounded to 8 bits on the way: near, but not the same.
    rough, fine = (predict(make(m), state, batch)["logits"] for m in (model, exact))
    assert rough.dtype == jnp.float32
    assert 0 < np.max(np.abs(rough - fine)) < 0.05 * np.max(np.abs(fine)) + 0.02
    lowered = jax.jit(task.step).trace(state, batch, KEY).lower(lowering_platforms=("tpu",))
    lines = lowered.as_text().splitlines()
    convolutions = [line for line in lines if "stablehlo.convolution" in line]
    assert convolutions
    assert all("xbf16>" in line.rpartition("->")[2] for line in convolutions)
