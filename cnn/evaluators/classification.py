"""The examination of a classifier: loss, accuracy, confusion matrix, and its worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

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
    """
    logits_parts, labels_parts = [], []
    for batch in batches:
        real = batch["weight"] > 0
        logits_parts.append(np.asarray(outputs(batch)["logits"], np.float64)[real])
        labels_parts.append(batch["label"][real])
    logits, labels = np.concatenate(logits_parts), np.concatenate(labels_parts)
    log_probabilities = log_softmax(logits)
    predicted = logits.argmax(axis=-1)
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    rows = np.arange(len(labels))
    sureness = np.exp(log_probabilities[rows, predicted])
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
        "loss": float(-log_probabilities[rows, labels].mean()),
        "accuracy": float((predicted == labels).mean()),
    }
    return Evaluation(metrics, step, len(labels), class_names, confusion, mistakes)


def log_softmax(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """The logarithms of the probabilities, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
