"""Accuracy on another test set of the same classes, or of some of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from cnn import data
from cnn.data.contract import labels_of
from cnn.evaluators import classification
from cnn.evaluators.subject import Subject
from cnn.report.measurement import Measurement, Table
from cnn.report.scores import by_class

Labelled = tuple[Float[np.ndarray, "_ classes"], Int[np.ndarray, " _"]]


def measure(subject: Subject, source: data.Source, *, name: str, restricted: bool) -> Measurement:
    """Accuracy, top-5 accuracy and loss.

    Args:
        subject: What is measured.
        source: With the network's classes (`cnn.data.match_classes`).
        name: Of the measurement.
        restricted: Whether the network chooses among the classes that occur only, as for ImageNet-A
            and -R (Hendrycks et al. 2021, "Natural adversarial examples" and "The many faces of
            robustness"), which have 200 of the 1,000.
    """
    classes = np.unique(labels_of(source)) if restricted else np.arange(len(subject.class_names))
    metrics, count = score(subject.logits(source), classes)
    settings = {**subject.settings(source), "classes": len(classes)}
    return Measurement(name, subject.step, count, settings, metrics)


def score(
    batches: Iterable[Labelled], classes: Int[np.ndarray, " chosen"]
) -> tuple[dict[str, float], int]:
    """(metrics, number of examples), choosing among `classes`, which rise and hold all labels."""
    right = in_five = loss = count = 0.0
    for logits, labels in batches:
        logits, labels = logits[:, classes], np.searchsorted(classes, labels)
        found = classification.measure(logits, labels, np.ones(len(labels), np.float32))
        own = logits[np.arange(len(labels)), labels]
        right += (found.predicted == labels).sum()
        in_five += ((logits > own[:, None]).sum(axis=-1) < 5).sum()
        loss += found.losses.sum()
        count += len(labels)
    metrics = {"accuracy": right / count, "loss": loss / count}
    if len(classes) > 5:
        metrics["top5_accuracy"] = in_five / count
    return {key: float(value) for key, value in metrics.items()}, int(count)


def measure_classes(subject: Subject, source: data.Source) -> Measurement:
    """Examples, recall (which is the accuracy within a class), precision and F1 of each class.

    The classes of lowest recall come first; those without examples last.
    """
    size = len(subject.class_names)
    confusion = np.zeros((size, size), np.int64)
    for logits, labels in subject.logits(source):
        np.add.at(confusion, (labels, logits.argmax(axis=-1)), 1)
    scores = by_class(confusion)
    order = np.argsort(scores.recall, kind="stable")
    rows = tuple(
        (
            subject.class_names[i],
            int(scores.examples[i]),
            *(None if np.isnan(x[i]) else float(x[i]) for x in scores[1:]),
        )
        for i in order
    )
    count = int(confusion.sum())
    metrics = {
        "accuracy": float(confusion.trace() / count),
        "mean_recall": float(np.nanmean(scores.recall)),
        "worst_recall": float(np.nanmin(scores.recall)),
    }
    table = Table("by class", ("class", "examples", "recall", "precision", "F1"), rows)
    settings = subject.settings(source)
    return Measurement("per_class", subject.step, count, settings, metrics, (table,))
