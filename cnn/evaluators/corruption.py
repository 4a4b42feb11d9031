"""Accuracy under the fifteen corruptions of ImageNet-C, from its files or made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnn import data
from cnn.data.corruptions import SEVERITIES
from cnn.evaluators.subject import Subject, View
from cnn.report.measurement import Measurement, Table

ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Mean over severities on ImageNet-C, by which errors are divided: of the authors' program."""

Opened = Callable[[str, int], tuple[data.Source, View | None]]


def measure(
    subject: Subject,
    opened: Opened,
    *,
    names: Sequence[str],
    severities: Sequence[int],
    published: bool,
) -> Measurement:
    """The error of each corruption and severity, their mean, and the mean corruption error.

    Args:
        subject: What is measured.
        opened: (corruption, severity) -> the pictures with the network's classes, and how they are
            seen; None is the subject's own way.
        names: Of corruptions.
        severities: From 1 to 5.
        published: Whether these are the files of ImageNet-C. Then mCE is given if all corruptions
            and severities are there: errors over AlexNet's (Hendrycks & Dietterich 2019, section
            4.1). Elsewhere it would mean nothing.
    """
    errors: dict[str, list[float]] = {name: [] for name in names}
    count = 0
    for name in names:
        for severity in severities:
            right = count = 0
            for logits, labels in subject.logits(*opened(name, severity)):
                right += int((logits.argmax(axis=-1) == labels).sum())
                count += len(labels)
            errors[name].append(1 - right / count)
    metrics, table = summarise(errors, severities, published=published)
    settings = {"made": "published files" if published else "on the fly"}
    found = "imagenet_c" if published else "corruptions"
    return Measurement(found, subject.step, count, settings, metrics, (table,))


def summarise(
    errors: Mapping[str, Sequence[float]], severities: Sequence[int], *, published: bool
) -> tuple[dict[str, float], Table]:
    """(metrics, table) of the errors of each corruption by severity; see `measure`."""
    whole = set(errors) == set(ALEXNET_ERRORS) and set(severities) == set(SEVERITIES)
    relative = corruption_errors(errors) if published and whole else {}
    metrics = {"mean_error": float(np.mean(list(errors.values())))}
    if relative:
        metrics["mce"] = float(np.mean(list(relative.values())))
    columns = ("corruption", *(f"error at {severity}" for severity in severities), "mean error")
    rows = tuple(
        (name, *values, float(np.mean(values)), *([relative[name]] if relative else []))
        for name, values in errors.items()
    )
    return metrics, Table("by corruption", (*columns, "CE") if relative else columns, rows)


def corruption_errors(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean error of each corruption, over AlexNet's."""
    return {name: float(np.mean(x)) / ALEXNET_ERRORS[name] for name, x in errors.items()}
