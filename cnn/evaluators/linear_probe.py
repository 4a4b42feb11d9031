"""Multinomial logistic regression on frozen features."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import optimize

from cnn import data
from cnn.evaluators.frozen import Frozen
from cnn.report.measurement import Measurement, Table

PENALTIES = tuple(10.0**power for power in range(1, -7, -1))
HELD_OUT = 0.1
MAX_STEPS = 500

Weights = Float[np.ndarray, "features_and_one classes"]
Objective = Callable[[Weights, float], tuple[float, Weights]]


def measure(frozen: Frozen) -> Measurement:
    """Accuracy of the regression whose penalty is the best on a tenth of the training set.

    Features are standardised by the training set. Full-batch L-BFGS, as Kornblith et al. 2019 ("Do
    better ImageNet models transfer better?", section 3); the penalty is half of the factor times
    the squared weights, without the biases. With the chosen factor all training examples are
    learnt.
    """
    mean, std = frozen.train.mean(axis=0), frozen.train.std(axis=0)
    std = np.where(std > 1e-6, std, 1.0).astype(np.float32)
    train, test = (_with_one((x - mean) / std) for x in (frozen.train, frozen.test))
    chosen, tried = choose_penalty(train, frozen.train_labels, frozen.num_classes)
    everything = np.ones(len(train), np.float32)
    objective = make_objective(train, frozen.train_labels, everything)
    weights = np.zeros((train.shape[1], frozen.num_classes))
    for penalty in PENALTIES[: PENALTIES.index(chosen) + 1]:
        weights = fit(objective, penalty, weights)
    metrics = {
        "accuracy": _accuracy(weights, test, frozen.test_labels),
        "train_accuracy": _accuracy(weights, train, frozen.train_labels),
        "penalty": chosen,
    }
    settings = {"set": frozen.name, "training examples": len(train), "features": len(mean)}
    table = Table("held-out tenth of the training set", ("penalty", "accuracy"), tuple(tried))
    return Measurement("linear_probe", frozen.step, len(test), settings, metrics, (table,))


def choose_penalty(
    train: Float[np.ndarray, "n features_and_one"], labels: Int[np.ndarray, " n"], num_classes: int
) -> tuple[float, list[tuple[float, float]]]:
    """(the best, all with their accuracies on the held-out part); of equals the largest."""
    held_out = data.stratified(labels.astype(np.int64), HELD_OUT)
    seen = np.ones(len(labels), np.float32)
    seen[held_out] = 0.0
    objective = make_objective(train, labels, seen)
    weights, tried = np.zeros((train.shape[1], num_classes)), []
    # From the strongest down, each from where the one before ended: a fraction of the steps.
    for penalty in PENALTIES:
        weights = fit(objective, penalty, weights)
        tried.append((penalty, _accuracy(weights, train[held_out], labels[held_out])))
    return max(tried, key=lambda pair: pair[1])[0], tried


def make_objective(
    train: Float[np.ndarray, "n features_and_one"],
    labels: Int[np.ndarray, " n"],
    seen: Float[np.ndarray, " n"],
) -> Objective:
    """(weights, penalty) -> the mean cross-entropy of the examples of weight 1, and its slope."""
    given = jax.device_put((train, labels.astype(np.int32), seen / seen.sum()))

    def objective(weights: Weights, penalty: float) -> tuple[float, Weights]:
        at = jax.device_put((weights.astype(np.float32), np.float32(penalty)))
        value, slope = jax.device_get(_objective(*given, *at))
        return float(value), slope.astype(np.float64)

    return objective


# What is large is an argument: a program would hold a copy of what it closes over.
@jax.jit
def _objective(
    x: Float[Array, "n features_and_one"],
    labels: Int[Array, " n"],
    shares: Float[Array, " n"],
    weights: Float[Array, "features_and_one classes"],
    penalty: Float[Array, ""],
) -> tuple[Array, Array]:
    logits = jnp.matmul(x, weights, precision="highest")
    shares = shares[:, None]
    targets = jax.nn.one_hot(labels, weights.shape[1])
    loss = -jnp.sum(shares * targets * jax.nn.log_softmax(logits))
    wrong = shares * (jax.nn.softmax(logits) - targets)
    slope = jnp.matmul(x.T, wrong, precision="highest")
    # The last row is of the biases.
    kept = weights.at[-1].set(0.0)
    return loss + penalty * jnp.sum(kept**2) / 2, slope + penalty * kept


def fit(objective: Objective, penalty: float, start: Weights) -> Weights:
    """The weights of the least objective, from `start` on."""

    def flat(values: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = objective(values.reshape(start.shape), penalty)
        return value, slope.ravel()

    # Beyond this the objective's float32 has no digits.
    options = {"maxiter": MAX_STEPS, "ftol": 1e-7, "gtol": 1e-6}
    found = optimize.minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape)


def _with_one(x: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n features_and_one"]:
    return np.pad(x, ((0, 0), (0, 1)), constant_values=1.0).astype(np.float32)


def _accuracy(
    weights: Weights,
    x: Float[np.ndarray, "n features_and_one"],
    labels: Int[np.ndarray, " n"],
) -> float:
    return float(((x @ weights).argmax(axis=-1) == labels).mean())
