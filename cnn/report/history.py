"""The lines of a metric log as series over steps, and what they say of time and speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Records = Sequence[Mapping[str, Any]]
"""Lines as `cnn.report.log.read_metrics` gives them."""

_FIRST_METRICS = ("loss", "accuracy")
_LAST_METRICS = ("learning_rate",)


class Series(NamedTuple):
    """The values of one name over the run: `train/loss` is the split "train" of the metric "loss".

    `split` is empty for a name without a slash.
    """

    metric: str
    split: str
    steps: Int[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


class NonFinite(NamedTuple):
    """How many values of a name are NaN or infinite, and the step of the first."""

    name: str
    points: int
    first_step: int


def series(records: Records) -> list[Series]:
    """Every logged name but `epoch` and the timing.

    Those of one metric follow each other, `train` first; loss and accuracy come first, the learning
    rate last.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name not in ("step", "epoch") and not name.startswith("perf/"):
                points.setdefault(name, []).append((record["step"], value))
    found = []
    for name, pairs in points.items():
        split, _, metric = name.rpartition("/")
        steps, values = zip(*pairs, strict=True)
        found.append(Series(metric, split, np.array(steps, np.int64), np.array(values, np.float64)))
    return sorted(found, key=lambda s: (*_rank(s.metric), s.metric, s.split != "train", s.split))


def last_step(records: Records) -> int:
    """The highest step that was logged; 0 where nothing was."""
    return max((record["step"] for record in records), default=0)


def steps_per_epoch(records: Records) -> float | None:
    """From the lines that hold an `epoch`; None where none does."""
    ratios = [
        record["step"] / record["epoch"] for record in records if record.get("epoch", 0.0) > 0
    ]
    return ratios[-1] if ratios else None


def training_seconds(records: Records) -> float | None:
    """The sum of `perf/seconds`, over all sessions of a resumed run; None where none was logged."""
    seconds = [record["perf/seconds"] for record in records if "perf/seconds" in record]
    return sum(seconds) if seconds else None


def images_per_second(records: Records) -> float | None:
    """The median of `perf/images_per_second`, which the slow first steps do not move."""
    return _median(records, "perf/images_per_second")


def data_wait(records: Records) -> float | None:
    """The median of `perf/data_wait`, the share of time in which devices waited for data."""
    return _median(records, "perf/data_wait")


def _median(records: Records, name: str) -> float | None:
    values = [record[name] for record in records if math.isfinite(record.get(name, math.nan))]
    return float(np.median(values)) if values else None


def non_finite(found: Sequence[Series]) -> list[NonFinite]:
    """The series that hold NaN or infinite values."""
    wrong = []
    for one in found:
        bad = ~np.isfinite(one.values)
        if bad.any():
            name = f"{one.split}/{one.metric}" if one.split else one.metric
            wrong.append(NonFinite(name, int(bad.sum()), int(one.steps[bad][0])))
    return wrong


def _rank(metric: str) -> tuple[int, int]:
    if metric in _FIRST_METRICS:
        return 0, _FIRST_METRICS.index(metric)
    return (2, 0) if metric in _LAST_METRICS else (1, 0)
