"""Distillation by its formulas, with and without a token, in parts and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnn import optim, parallel
from cnn.core import TEACHER
from cnn.errors import UserError
from cnn.tasks import classification
from tests.tasks.small import (
    KEY,
    assert_same,
    batch_of,
    init,
    numpy_log_softmax,
    padded,
    recorder,
    step,
    values,
)


class Linear(linen.Module):
    """A dense layer."""

    @linen.compact
    def __call__(self, images, *, train=False):
        return linen.Dense(5, name="logits")(images.reshape(images.shape[0], -1))


class Two(linen.Module):
    """Two dense layers, whose logits are sown as DeiT's are."""

    @linen.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(images.shape[0], -1)
        own, others = linen.Dense(5, name="logits")(x), linen.Dense(5, name="others")(x)
        if not self.is_initializing():
            self.sow("distillation", "class", own)
            self.sow("distillation", "distillation", others)
        return (own + others) / 2


def taught(kind, model=None, tx=None, batch=None, **options):
    """A task with a teacher that says something, and its state."""
    distillation = {
        "kind": kind,
        **{k: options.pop(k) for k in ("weight", "temperature") if k in options},
    }
    task = classification.make(
        model or Linear(), tx or recorder(), teacher=Linear(), distillation=distillation, **options
    )
    state = init(task, batch or batch_of())
    rng = np.random.default_rng(5)
    teacher = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), state.model_state[TEACHER]
    )
    return task, state._replace(model_state={**state.model_state, TEACHER: teacher})


def said(layer, batch):
    pixels = np.asarray(batch["image"]).reshape(len(batch["label"]), -1)
    return pixels @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def cross_entropy(logits, labels):
    return -numpy_log_softmax(logits)[np.arange(len(labels)), np.asarray(labels)]


def total(task, state, batch):
    new, metrics = step(task, state, batch)
    return new, values(metrics)


def test_hard_is_cross_entropy_with_what_the_teacher_finds_likeliest():
    batch = batch_of()
    task, state = taught("hard", weight=0.25)
    own, theirs = (
        said(state.params["logits"], batch),
        said(state.model_state[TEACHER]["params"]["logits"], batch),
    )
    new, metrics = total(task, state, batch)
    chosen = np.argmax(theirs, axis=-1)
    assert metrics["distillation_loss"] == pytest.approx(
        cross_entropy(own, chosen).mean(), rel=1e-5
    )
    assert metrics["loss"] == pytest.approx(cross_entropy(own, batch["label"]).mean(), rel=1e-5)
    # The gradient of both by the bias: probabilities minus the mixed target.
    target = 0.75 * np.eye(5)[np.asarray(batch["label"])] + 0.25 * np.eye(5)[chosen]
    expected = (np.exp(numpy_log_softmax(own)) - target).mean(axis=0)
    np.testing.assert_allclose(new.opt_state[0]["logits"]["bias"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_is_the_divergence_at_a_temperature_by_its_square(temperature):
    batch = batch_of()
    task, state = taught("soft", weight=1.0, temperature=temperature)
    own, theirs = (
        said(state.params["logits"], batch),
        said(state.model_state[TEACHER]["params"]["logits"], batch),
    )
    ours, goal = numpy_log_softmax(own / temperature), numpy_log_softmax(theirs / temperature)
    new, metrics = total(task, state, batch)
    expected = temperature**2 * np.sum(np.exp(goal) * (goal - ours), axis=-1).mean()
    assert metrics["distillation_loss"] == pytest.approx(expected, rel=1e-5)
    gradient = temperature * (np.exp(ours) - np.exp(goal)).mean(axis=0)
    np.testing.assert_allclose(new.opt_state[0]["logits"]["bias"], gradient, rtol=1e-4, atol=1e-6)


def test_a_distillation_token_learns_from_the_teacher_and_the_other_from_labels():
    batch = batch_of()
    task, state = taught("hard", Two(), weight=0.5)
    theirs = np.argmax(said(state.model_state[TEACHER]["params"]["logits"], batch), axis=-1)
    gradients = total(task, state, batch)[0].opt_state[0]
    for name, labels in (("logits", np.asarray(batch["label"])), ("others", theirs)):
        probabilities = np.exp(numpy_log_softmax(said(state.params[name], batch)))
        expected = 0.5 * (probabilities - np.eye(5)[labels]).mean(axis=0)
        np.testing.assert_allclose(gradients[name]["bias"], expected, rtol=1e-4, atol=1e-6)


def test_the_teacher_stays_as_it_is_and_sees_what_the_student_sees():
    batch = batch_of()
    mixing = {"mixup_alpha": 0.8}
    task, state = taught("soft", tx=optax.sgd(0.5), mixing=mixing, weight=1.0)
    new, _ = step(task, state, batch)
    assert_same(new.model_state[TEACHER], state.model_state[TEACHER], rtol=0, atol=0)
    # A student that already says what the teacher says of mixed images has nothing to learn.
    agreed = state._replace(params=state.model_state[TEACHER]["params"])
    after, metrics = step(task, agreed, batch)
    assert values(metrics)["distillation_loss"] == pytest.approx(0.0, abs=1e-6)
    assert_same(after.params, agreed.params, rtol=0, atol=1e-6)


def test_padding_and_parts_change_nothing():
    batch = batch_of()
    task, state = taught("soft", tx=optax.sgd(0.1), temperature=2.0)
    expected, metrics = step(task, state, batch)
    in_parts, _ = taught("soft", tx=optax.sgd(0.1), temperature=2.0, accumulate_steps=4)
    for changed, run in ((padded(batch, np.nan), task), (batch, in_parts)):
        new, measured = step(run, state, changed)
        assert_same(new.params, expected.params, rtol=1e-5, atol=1e-6)
        assert values(measured) == pytest.approx(values(metrics), rel=1e-5)


@pytest.mark.parametrize("name", ["mesh", "pmap"])
def test_over_devices_it_is_that_of_one(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=4)
    batch = batch_of(16)
    tx = optax.chain(optim.average_gradients(strategy.axis_name), optax.sgd(0.1))
    task, state = taught("hard", tx=tx, batch=batch)
    laid_out = strategy.put(jax.tree.map(np.asarray, batch))
    run = strategy.step(lambda state, _, batch, key: task.step(state, batch, key))
    shared, _ = run(
        strategy.unpack(jax.tree.map(np.asarray, state)),
        strategy.unpack(jnp.zeros(())),
        laid_out,
        strategy.share(KEY),
    )
    alone, _ = taught("hard", tx=optax.chain(optax.identity(), optax.sgd(0.1)), batch=batch)
    expected, _ = step(alone, state, batch)
    assert_same(strategy.fetch(shared).params, expected.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "options", "message"),
    [
        (None, {"kind": "hard"}, "kind is 'hard', and there is no teacher"),
        (Linear(), {}, "kind is 'none', and there is a teacher"),
        (Linear(), {"kind": "har"}, r"unknown value of task\.distillation\.kind 'har'; did you"),
        (Linear(), {"kind": "soft", "weight": 1.5}, r"weight must be in \[0, 1\]"),
        (Linear(), {"kind": "soft", "temperature": 0.0}, r"temperature above 0, got 0\.5 and 0"),
        (Linear(), {"temprature": 1.0}, "'temprature'; did you mean 'temperature'"),
    ],
)
def test_what_cannot_be_is_refused(teacher, options, message):
    with pytest.raises(UserError, match=message):
        classification.make(Linear(), recorder(), teacher=teacher, distillation=options)
