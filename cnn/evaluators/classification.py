"""The examination of a classifier: loss, accuracy, confusion matrix, and its worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from cnn.errors import UserError
from cnn.report.evaluation import Evaluation, Mistake

NUM_MISTAKES = 24

HostBatch = Mapping[str, np.ndarray]


@runtime_checkable
class Examples(Protocol):
    """The split itself, for the pictures of the mistakes."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def examine(
    outputs: Callable[[HostBatch], Mapping[str, np.ndarray]],
    batches: Iterable[HostBatch],
    examples: Examples,
    class_names: tuple[str, ...],
    step: int,
) -> Evaluation:
    """Predicts every example of a split once.

    Args:
        outputs: Batch -> `logits` [batch, classes].
        batches: All of them in the order of `examples`; padding at the end of a batch has weight 0.
        examples: The same examples as pictures.
        class_names: By label.
        step: Of the model, for the record.

    Returns:
        Metrics `loss` and `accuracy`, and the mistakes of highest probability first.

    Raises:
        UserError: If there is no example.
    """
    # Four numbers an example are kept: all logits of a large split would not fit in memory.
    parts = [
        measure(outputs(batch)["logits"], batch["label"], batch["weight"]) for batch in batches
    ]
    if not sum(len(part.labels) for part in parts):
        raise UserError("the evaluation split has no examples")
    labels, predicted, losses, sureness = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-sureness[wrong], kind="stable")][:NUM_MISTAKES]
    mistakes = tuple(
        Mistake(
            image=np.asarray(examples[int(index)]["image"]),
            true=class_names[labels[index]],
            predicted=class_names[predicted[index]],
            probability=float(sureness[index]),
            index=int(index),
        )
        for index in worst
    )
    metrics = {
        "loss": float(losses.mean()),
        "accuracy": float((predicted == labels).mean()),
    }
    return Evaluation(metrics, step, len(labels), class_names, confusion, mistakes)


class Measured(NamedTuple):
    """Of each example: the losses in nats, and the probability of the predicted class."""

    labels: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    losses: Float[np.ndarray, " n"]
    sureness: Float[np.ndarray, " n"]


def measure(
    logits: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    weight: Float[np.ndarray, " batch"],
) -> Measured:
    """What is kept of a batch; padding, of weight 0, is left out."""
    real = weight > 0
    log_probabilities, labels = log_softmax(logits[real].astype(np.float64)), labels[real]
    predicted, rows = log_probabilities.argmax(axis=-1), np.arange(len(labels))
    losses = -log_probabilities[rows, labels]
    return Measured(labels, predicted, losses, np.exp(log_probabilities[rows, predicted]))


def log_softmax(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """The logarithms of the probabilities, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
