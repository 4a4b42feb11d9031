"""Ridge regression in closed form on the frozen features of a few images a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg

from cnn.errors import UserError
from cnn.evaluators.frozen import Frozen
from cnn.metrics.spread import spread
from cnn.report.measurement import Measurement, Table

BIAS = 100.0
"""A constant feature, large so that the bias is hardly penalised."""


def measure(frozen: Frozen, *, shots: Sequence[int], num_seeds: int, l2: float) -> Measurement:
    """Accuracy for each number of images a class, the mean over draws of them with its interval.

    As big_vision measures few-shot transfer (Kolesnikov et al. 2020, "Big transfer", appendix):
    features standardised by the images drawn, targets of 1 for the class and -1 for the others, the
    penalty fixed beforehand (1,024 there).

    Raises:
        UserError: If a class has fewer images than a number of shots, or a value is below 1.
    """
    if min(*shots, num_seeds) < 1 or not l2 > 0:
        raise UserError(
            f"--shots and --seeds must be at least 1 and --l2 above 0, got {list(shots)}, "
            f"{num_seeds} and {l2}"
        )
    counts = np.bincount(frozen.train_labels, minlength=frozen.num_classes)
    if max(shots) > counts.min():
        raise UserError(
            f"--shots={max(shots)} is more than the {counts.min()} training images of the class "
            f"number {counts.argmin()}"
        )
    rows, metrics = [], {}
    for count in shots:
        values = [
            _accuracy(frozen, draw(frozen.train_labels, count, seed), l2)
            for seed in range(num_seeds)
        ]
        found = spread(values)
        rows.append((count, found.mean, found.std, found.low, found.high))
        metrics[f"accuracy_{count}_shot"] = found.mean
    columns = ("images a class", "mean", "deviation", "95 % from", "to")
    settings = {"set": frozen.name, "seeds": num_seeds, "l2": l2}
    table = Table("over draws of images", columns, tuple(rows))
    return Measurement("few_shot", frozen.step, len(frozen.test), settings, metrics, (table,))


def draw(labels: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " drawn"]:
    """Indices of `count` examples of each class; those of a smaller number are among them."""
    rng = np.random.default_rng(seed)
    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.concatenate([rng.permutation(indices)[:count] for indices in members])


def ridge(
    x: Float[np.ndarray, "n features"], targets: Float[np.ndarray, "n classes"], l2: float
) -> Float[np.ndarray, "features classes"]:
    """The weights w of least |x w - targets|^2 + l2 |w|^2."""
    if len(x) < x.shape[1]:
        # The same by a smaller matrix.
        gram = x @ x.T + l2 * np.eye(len(x))
        return x.T @ linalg.solve(gram, targets, assume_a="pos")
    gram = x.T @ x + l2 * np.eye(x.shape[1])
    return linalg.solve(gram, x.T @ targets, assume_a="pos")


def _accuracy(frozen: Frozen, drawn: Int[np.ndarray, " drawn"], l2: float) -> float:
    x = frozen.train[drawn].astype(np.float64)
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-5
    targets = 2 * np.eye(frozen.num_classes)[frozen.train_labels[drawn]] - 1
    weights = ridge(_with_bias((x - mean) / std), targets, l2)
    predicted = (_with_bias((frozen.test - mean) / std) @ weights).argmax(axis=-1)
    return float((predicted == frozen.test_labels).mean())


def _with_bias(x: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n features_and_bias"]:
    return np.pad(x, ((0, 0), (0, 1)), constant_values=BIAS)
