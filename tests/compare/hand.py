"""A comparison that was made by hand: three models, two seeds, ten examples, no training."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from cnn.compare import measure
from cnn.compare.corruptions import Condition
from cnn.report.log import MetricLog

SEEDS = (0, 1)
LABELS = np.arange(10) % 5
WRONG = {
    # The examples that each run has wrong, by model and seed.
    "lenet": ((0,), (0, 1)),
    "mlp": ((0, 1, 2, 3), (0, 1, 2, 4)),
    "vit": ((0, 1, 5), (5, 6)),
}
KINDS = {"lenet": "CNN", "mlp": "MLP", "vit": "ViT"}
MACS = {"lenet": 400, "mlp": 300, "vit": 2000}


def group(model: str, fraction: float = 1.0) -> dict[str, Any]:
    return {
        "model": model,
        "kind": KINDS[model],
        "fraction": fraction,
        "num_train": round(100 * fraction),
        "parameters": 10 * MACS[model],
        "macs": MACS[model],
        "step_macs": 12 * MACS[model],
        "network": f"{model}_test",
        "data": "mnist5k",
        "num_steps": 20,
        "batch_size": 4,
        "folder": f"runs/{model}/{fraction:g}",
    }


def write(
    workdir: pathlib.Path, *, fractions: tuple[float, ...] = (1.0,), seeds: tuple[int, ...] = SEEDS
) -> None:
    """All files that the analysis reads."""
    groups = [group(model, fraction) for model in WRONG for fraction in fractions]
    budget = {"kind": "steps", "amount": 20}
    plan = {"seeds": seeds, "budget": budget, "groups": groups, "about": {"commit": "abc123"}}
    plan["image_size"] = 28
    (workdir / "plan.json").write_text(json.dumps(plan))
    for one in groups:
        for seed in seeds:
            _write_run(workdir / one["folder"] / f"seed{seed}", one, seed)
        (workdir / one["folder"] / "costs.json").write_text('{"step_bytes": 1000}')


def _write_run(directory: pathlib.Path, one: dict[str, Any], seed: int) -> None:
    directory.mkdir(parents=True)
    predicted = LABELS.copy()
    wrong = list(WRONG[one["model"]][seed])
    if one["fraction"] < 1:
        wrong = [*wrong, 7, 8, 9]
    predicted[wrong] = (predicted[wrong] + 1) % 5
    confidence = np.where(predicted == LABELS, 0.9, 0.6)
    predictions = measure.Predictions(LABELS, predicted, confidence, np.linspace(0, 1, 10))
    accuracy = float((predicted == LABELS).mean())
    conditions = (
        (Condition("none", 0.0), accuracy),
        (Condition("shift", 1.0), accuracy - 0.1),
        (Condition("shift", 4.0), accuracy / 2),
        (Condition("size", 20.0), None if one["kind"] == "MLP" else 0.5),
    )
    measure.save_measured(directory, measure.Measured(20, 0, predictions, conditions))
    (directory / "report.html").write_text("a run")
    with MetricLog(directory) as log:
        for step in (10, 20):
            timing = {"seconds": 0.5, "images_per_second": 160.0 / (1 + seed)}
            log.write(step, {"train/loss": 1.0}, timing=timing)
            log.write(step, {"eval/accuracy": accuracy * step / 20, "eval/loss": 1.0})
