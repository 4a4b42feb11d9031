"""Runs of a comparison -> its tables: lists of rows, each a dict of plain numbers and texts."""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from cnn.compare import statistics
from cnn.compare.measure import COSTS, Measured, load_measured
from cnn.compare.plan_file import Plan
from cnn.errors import UserError
from cnn.metrics import calibration
from cnn.metrics.spread import Spread, spread
from cnn.report import files, history
from cnn.report.log import read_metrics

Row = dict[str, Any]
Tables = dict[str, list[Row]]
COST_COLUMNS = ("macs", "parameters", "images", "train_macs", "step_bytes", "seconds")
"""What accuracy is set against."""


class Run(NamedTuple):
    """One training and what it said."""

    seed: int
    folder: str
    measured: Measured
    records: history.Records

    @property
    def right(self) -> Bool[np.ndarray, " examples"]:
        """Which examples."""
        found = self.measured.predictions
        return found.predicted == found.label

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return float(self.right.mean())

    @property
    def bins(self) -> calibration.Bins:
        """Its predictions by confidence."""
        return calibration.bins(self.measured.predictions.confidence, self.right)


class Trained(NamedTuple):
    """A group of the plan and its runs, by seed."""

    group: Mapping[str, Any]
    step_bytes: int | None
    runs: tuple[Run, ...]

    @property
    def model(self) -> str:
        """Its name in the comparison."""
        return self.group["model"]

    @property
    def accuracy(self) -> Spread:
        """Over the seeds."""
        return spread([run.accuracy for run in self.runs])


def load(workdir: pathlib.Path, plan: Plan) -> list[Trained]:
    """All groups, in the order of the plan.

    Raises:
        UserError: If a run has not been measured, or a file is damaged.
    """
    found = []
    for group in plan.groups:
        runs = []
        for seed in plan.seeds:
            folder = f"{group['folder']}/seed{seed}"
            measured = load_measured(workdir / folder)
            if measured is None:
                raise UserError(f"{workdir / folder} is not done; the same cnn compare goes on")
            runs.append(Run(seed, folder, measured, read_metrics(workdir / folder)))
        costs = files.read_json(workdir / group["folder"] / COSTS) or {}
        found.append(Trained(group, costs.get("step_bytes"), tuple(runs)))
    return found


def tables(found: Sequence[Trained], image_size: int) -> Tables:
    """All tables, by name; what a time is has "seconds" in its name, the rest is reproducible.

    Args:
        found: The groups.
        image_size: Of the base config.
    """
    whole = [one for one in found if one.group["fraction"] == 1]
    models = [_model_row(one) for one in whole]
    return {
        "models": models,
        "pairs": _pair_rows(whole),
        "pareto": _pareto_rows(models),
        "curves": [row for one in whole for row in _curve_rows(one)],
        "efficiency": [_efficiency_row(one) for one in found],
        "robustness": [row for one in whole for row in _robustness_rows(one, image_size)],
        "calibration": [row for one in whole for row in _calibration_rows(one)],
        "runs": [row for one in found for row in _run_rows(one)],
    }


def _spread_columns(prefix: str, values: Sequence[float]) -> Row:
    found = spread(values)
    parts = found._asdict()
    return {f"{prefix}_{name}": parts[name] for name in ("mean", "std", "low", "high")}


def _model_row(one: Trained) -> Row:
    group = one.group
    images = group["num_steps"] * group["batch_size"]
    losses = [float(run.measured.predictions.loss.mean()) for run in one.runs]
    errors = [calibration.calibration_error(run.bins) for run in one.runs]
    seconds = [value for run in one.runs if (value := _seconds(group, run)) is not None]
    return {
        **{key: group[key] for key in ("model", "kind", "network", "parameters", "macs")},
        **{key: group[key] for key in ("num_steps", "batch_size")},
        "images": images,
        "train_macs": group["num_steps"] * group["step_macs"],
        "step_bytes": one.step_bytes,
        "seeds": len(one.runs),
        **_spread_columns("accuracy", [run.accuracy for run in one.runs]),
        "loss_mean": spread(losses).mean,
        "ece_mean": spread(errors).mean,
        "ece_std": spread(errors).std,
        "seeds_agreement": _own_agreement(one),
        "seconds": spread(seconds).mean if seconds else None,
    }


def _seconds(group: Mapping[str, Any], run: Run) -> float | None:
    """Of all steps at the median speed: without compiling, evaluating, and whatever disturbed."""
    speed = history.images_per_second(run.records)
    return None if not speed else group["num_steps"] * group["batch_size"] / speed


def _own_agreement(one: Trained) -> float | None:
    """Share of examples of which two seeds say the same, the mean over pairs of seeds."""
    shares = [
        float((a.measured.predictions.predicted == b.measured.predictions.predicted).mean())
        for a, b in itertools.combinations(one.runs, 2)
    ]
    return float(np.mean(shares)) if shares else None


def _pair_rows(whole: Sequence[Trained]) -> list[Row]:
    rows = [_pair_row(left, right) for left, right in itertools.combinations(whole, 2)]
    for test in ("t", "mcnemar"):
        adjusted = statistics.holm([row[f"{test}_p"] for row in rows])
        for row, p in zip(rows, adjusted, strict=True):
            row[f"{test}_p_holm"] = p
    return rows


def _pair_row(left: Trained, right: Trained) -> Row:
    """Runs of the same seed are a pair; they saw the same examples in the same order."""
    pairs = list(zip(left.runs, right.runs, strict=True))
    counts = [statistics.discordant(a.right, b.right) for a, b in pairs]
    kappas = [statistics.error_consistency(a.right, b.right) for a, b in pairs]
    known = [kappa for kappa in kappas if kappa is not None]
    same = [
        (a.measured.predictions.predicted == b.measured.predictions.predicted).mean()
        for a, b in pairs
    ]
    return {
        "left": left.model,
        "right": right.model,
        **_spread_columns("difference", [a.accuracy - b.accuracy for a, b in pairs]),
        "t_p": statistics.paired_t([a.accuracy for a, _ in pairs], [b.accuracy for _, b in pairs]),
        "only_left_mean": float(np.mean([count.only_left for count in counts])),
        "only_right_mean": float(np.mean([count.only_right for count in counts])),
        "mcnemar_p": statistics.combined([statistics.mcnemar(count) for count in counts]),
        "agreement": float(np.mean(same)),
        "error_kappa": float(np.mean(known)) if known else None,
    }


def _pareto_rows(models: Sequence[Row]) -> list[Row]:
    rows = []
    for cost in COST_COLUMNS:
        known = [row for row in models if row[cost] is not None]
        front = statistics.pareto_front(
            [row[cost] for row in known], [row["accuracy_mean"] for row in known]
        )
        rows += [
            {
                "cost": cost,
                **{key: row[key] for key in ("model", "kind")},
                "amount": row[cost],
                **{key: row[key] for key in ("accuracy_mean", "accuracy_std")},
                "on_front": on_front,
            }
            for row, on_front in zip(known, front, strict=True)
        ]
    return rows


def _curve_rows(one: Trained) -> list[Row]:
    """Accuracy at each evaluation of the training."""
    found: dict[int, list[float]] = {}
    for run in one.runs:
        for record in run.records:
            if "eval/accuracy" in record:
                found.setdefault(record["step"], []).append(record["eval/accuracy"])
    return [
        {
            "model": one.model,
            "kind": one.group["kind"],
            "step": step,
            "images": step * one.group["batch_size"],
            "train_macs": step * one.group["step_macs"],
            **_spread_columns("accuracy", values),
        }
        for step, values in sorted(found.items())
    ]


def _efficiency_row(one: Trained) -> Row:
    keys = ("model", "kind", "fraction", "num_train", "num_steps", "batch_size")
    return {
        **{key: one.group[key] for key in keys},
        **_spread_columns("accuracy", [run.accuracy for run in one.runs]),
    }


def _robustness_rows(one: Trained, image_size: int) -> list[Row]:
    """Each kind of change begins with none: an amount of 0, or images of the size trained on."""
    rows: list[Row] = []
    none: Row = {}
    for cells in zip(*(run.measured.robustness for run in one.runs), strict=True):
        kind, amount = cells[0][0]
        shares = [share for _, share in cells if share is not None]
        known = {"model": one.model, "kind": one.group["kind"]}
        columns = _spread_columns("accuracy", shares) if shares else dict.fromkeys(none)
        if kind == "none":
            none = columns
            continue
        if not rows or rows[-1]["condition"] != kind:
            start = float(image_size) if kind == "size" else 0.0
            rows.append({**known, "condition": kind, "amount": start, **none})
        rows.append({**known, "condition": kind, "amount": amount, **columns})
    return rows


def _calibration_rows(one: Trained) -> list[Row]:
    """Bins over the predictions of all seeds."""
    confidence = np.concatenate([run.measured.predictions.confidence for run in one.runs])
    right = np.concatenate([run.right for run in one.runs])
    found = calibration.bins(confidence, right)
    width = 1 / calibration.NUM_BINS
    return [
        {
            "model": one.model,
            "kind": one.group["kind"],
            "from": index * width,
            "to": (index + 1) * width,
            "count": int(count),
            "confidence": _or_none(mean),
            "accuracy": _or_none(accuracy),
        }
        for index, (count, mean, accuracy) in enumerate(zip(*found, strict=True))
    ]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _run_rows(one: Trained) -> list[Row]:
    return [
        {
            "model": one.model,
            "fraction": one.group["fraction"],
            "seed": run.seed,
            "accuracy": run.accuracy,
            "loss": float(run.measured.predictions.loss.mean()),
            "ece": calibration.calibration_error(run.bins),
            "seconds": _seconds(one.group, run),
            "report": f"{run.folder}/report.html",
        }
        for run in one.runs
    ]
