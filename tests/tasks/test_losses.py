"""The losses of classification against NumPy, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnn.errors import UserError
from cnn.tasks import classification
from tests.tasks.small import KEY, batch_of, evaluate, init, recorder, step, values


class Linear(linen.Module):
    """One dense layer."""

    @linen.compact
    def __call__(self, images, *, train=False):
        return linen.Dense(5, name="logits")(images.reshape(images.shape[0], -1))


def binary(logits, targets):
    """The mean over classes of binary cross-entropies, from probabilities."""
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p), axis=-1)


def test_the_sigmoid_loss_is_binary_cross_entropy_of_smoothed_targets():
    task = classification.make(Linear(), recorder(), loss="sigmoid", label_smoothing=0.1)
    batch = batch_of()
    state = init(task, batch)
    logits = np.asarray(task.predict(state, batch)["logits"])
    targets = np.eye(5)[np.asarray(batch["label"])]
    after, metrics = step(task, state, batch)
    expected = np.mean(binary(logits, 0.9 * targets + 0.02))
    assert values(metrics)["loss"] == pytest.approx(expected, rel=1e-5)
    # Its gradient is (sigmoid - target) / (batch * classes).
    by_logit = (1 / (1 + np.exp(-logits)) - 0.9 * targets - 0.02) / 40
    gradient = after.opt_state[0]["logits"]["bias"]
    np.testing.assert_allclose(gradient, by_logit.sum(axis=0), rtol=1e-4, atol=1e-7)
    measured = values(evaluate(task, state, batch))
    assert measured["loss"] == pytest.approx(np.mean(binary(logits, targets)), rel=1e-5)


@pytest.mark.parametrize(("threshold", "alone"), [(0.2, 0.1), (0.75, 0.5)])
def test_above_the_threshold_a_mixed_image_is_whole_of_each_class(threshold, alone, monkeypatch):
    # Examples keep 0.85 or 0.3 of themselves: of the others' 0.15, 0.7 what is above counts.
    kept = jnp.asarray([0.85, 0.85, 0.85, 0.85, 0.3, 0.3, 0.3, 0.3])
    monkeypatch.setattr(
        classification, "make_mix", lambda options: lambda key, images, weight: (images, kept)
    )
    task = classification.make(
        Linear(), optax.identity(), loss="sigmoid", target_threshold=threshold, top_k=0
    )
    batch = batch_of()
    state = init(task, batch)
    own = np.eye(5)[np.asarray(batch["label"])]
    mixed = own * np.asarray(kept)[:, None] + own[::-1] * (1 - np.asarray(kept)[:, None])
    logits = task.predict(state, batch)["logits"]
    loss = values(step(task, state, batch, KEY)[1])["loss"]
    assert loss == pytest.approx(np.mean(binary(logits, mixed > threshold)), rel=1e-5)
    assert loss != pytest.approx(np.mean(binary(logits, mixed > alone)), rel=1e-3)


def test_auxiliary_classifiers_have_the_same_loss():
    class Two(linen.Module):
        @linen.compact
        def __call__(self, images, *, train=False):
            logits = Linear()(images)
            if train:
                self.sow("auxiliary", "auxiliary_logits", logits)
            return logits

    batch = batch_of()
    options = {"loss": "sigmoid", "auxiliary_weight": 0.5}
    task = classification.make(Two(), recorder(), **options)
    alone = classification.make(Two(), recorder(), **{**options, "auxiliary_weight": 0.0})
    state = init(task, batch)
    both, one = (step(t, state, batch)[0].opt_state[0] for t in (task, alone))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, 1.5 * b, rtol=1e-5, atol=1e-8), both, one
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "sigmoidal"}, r"unknown value of task\.loss 'sigmoidal'; did you mean 'sigm"),
        ({"target_threshold": 1.0, "loss": "sigmoid"}, r"target_threshold must be in \[0, 1\)"),
        ({"target_threshold": 0.2}, r"target_threshold=0\.2 is for task\.loss='sigmoid'"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        classification.make(Linear(), recorder(), **options)
