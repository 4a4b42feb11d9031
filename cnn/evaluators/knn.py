"""Weighted vote of the nearest training examples, on frozen features."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnn.errors import UserError
from cnn.evaluators.frozen import Frozen
from cnn.report.measurement import Measurement

BLOCK = 512


def measure(frozen: Frozen, *, ks: Sequence[int], temperature: float) -> Measurement:
    """Accuracy for each number of neighbours.

    Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination",
    section 3.4: each of the k neighbours of highest cosine similarity s votes exp(s / temperature)
    for its class.

    Raises:
        UserError: If a k is not between 1 and the number of training examples, or the temperature
            is not above 0.
    """
    if not temperature > 0:
        raise UserError(f"--temperature must be above 0, got {temperature}")
    for k in ks:
        if not 1 <= k <= len(frozen.train):
            raise UserError(
                f"--k must be between 1 and the {len(frozen.train):,} training examples, got {k}"
            )
    near, labels = neighbours(frozen.train, frozen.train_labels, frozen.test, max(ks))
    metrics = {}
    for k in ks:
        votes = vote(near[:, :k], labels[:, :k], frozen.num_classes, temperature)
        metrics[f"accuracy_k{k}"] = float((votes.argmax(axis=-1) == frozen.test_labels).mean())
    settings = {
        "set": frozen.name,
        "training examples": len(frozen.train),
        "temperature": temperature,
    }
    return Measurement("knn", frozen.step, len(frozen.test), settings, metrics)


def neighbours(
    train: Float[np.ndarray, "train features"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test features"],
    k: int,
) -> tuple[Float[np.ndarray, "test k"], Int[np.ndarray, "test k"]]:
    """(cosine similarities, labels) of the k nearest training examples, the nearest first."""
    bank = jax.device_put(_normalised(train))
    near, found = [], []
    for start in range(0, len(test), BLOCK):
        some = test[start : start + BLOCK]
        # One shape for all, so that it is compiled once.
        queries = np.zeros((min(BLOCK, len(test)), test.shape[1]), np.float32)
        queries[: len(some)] = _normalised(some)
        similarities, places = jax.device_get(_nearest(bank, jax.device_put(queries), k))
        near.append(similarities[: len(some)])
        found.append(labels[places[: len(some)]])
    return np.concatenate(near), np.concatenate(found)


def vote(
    similarities: Float[np.ndarray, "test k"],
    labels: Int[np.ndarray, "test k"],
    num_classes: int,
    temperature: float,
) -> Float[np.ndarray, "test classes"]:
    """The sum of the votes for each class, but for a factor common to all of an example."""
    highest = similarities.max(axis=-1, keepdims=True).astype(np.float64)
    weights = np.exp((similarities - highest) / temperature)
    votes = np.zeros((len(labels), num_classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes


@functools.partial(jax.jit, static_argnums=2)
def _nearest(
    bank: Float[Array, "train features"], queries: Float[Array, "block features"], k: int
) -> tuple[Array, Array]:
    similarities, places = jax.lax.top_k(jnp.matmul(queries, bank.T, precision="highest"), k)
    return similarities, places


def _normalised(x: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n features"]:
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    return (x / np.maximum(norms, 1e-12)).astype(np.float32)
