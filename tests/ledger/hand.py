"""A ledger made by hand: one paper, whose row has a run that no training made."""

from __future__ import annotations

import json
import pathlib

from cnn.cli import config_file
from cnn.ledger import check, entry, papers
from cnn.report.log import MetricLog

ROOT = pathlib.Path(__file__).parents[2]
PAPER = """
title = "A paper"
citation = "Somebody 1998"

[[rows]]
name = "first"
claim = "digits, 5 % error"
config = "configs/mnist5k/resnet8.py"
overrides = { "model.name" = "resnet_test", "train.num_steps" = 2, "model.widths" = [8, 16] }
metric = "eval/accuracy"
expected = 0.95
expected_source = "table 1"
seeds = [0, 1, 2]
differences = "it is small"

[[rows]]
name = "second"
claim = "digits | best"
config = "configs/mnist5k/lenet5.py"
metric = "best:eval/accuracy"
expected = 1
expected_source = "table 2"
from_memory = true
seeds = [0]

[[rows]]
name = "third"
claim = "nobody knows"
config = "configs/mnist5k/vit.py"
metric = "eval/loss"
seeds = [7]
"""
ENVIRONMENT = {
    "command": ["cnn", "train", "--config.data.root=/somewhere"],
    "commit": "0123456789abcdef",
    "dirty": False,
    "python": "3.11",
    "cpus": 2,
    "versions": {"jax": "0.10"},
    "devices": ["cpu:0 cpu"],
    "processes": 1,
}


def ledger(directory: pathlib.Path) -> pathlib.Path:
    """`experiments/` with the paper `small`, beside the repository's configs."""
    (directory / "configs").symlink_to(ROOT / "configs")
    root = directory / "experiments"
    (root / "small").mkdir(parents=True)
    (root / "small" / "paper.toml").write_text(PAPER)
    (directory / "README.md").write_text("# Top\n")
    return root


def paper(root: pathlib.Path) -> papers.Paper:
    return papers.read(root / "small")


def row(root: pathlib.Path, name: str = "first") -> papers.Row:
    return next(row for row in paper(root).rows if row.name == name)


def workdir(
    root: pathlib.Path,
    *,
    name: str = "first",
    seed: int = 0,
    accuracies: tuple[float, ...] = (0.9, 0.96),
    environment: dict | None = None,
) -> pathlib.Path:
    """What a finished run leaves behind, of what the ledger reads."""
    directory = root.parent / "runs" / f"{name}{seed}"
    directory.mkdir(parents=True)
    config = dict(check.build(root, row(root, name), config_file.read))
    config = {**config, "seed": seed, "data": {**config["data"], "root": "/somewhere"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "environment.json").write_text(json.dumps(environment or ENVIRONMENT))
    (directory / "evaluation.json").write_text("{}")
    with MetricLog(directory) as log:
        for index, accuracy in enumerate(accuracies):
            log.write(10 * index + 9, {"train/loss": 0.123456789}, timing={"seconds": 1800.0})
            log.write(10 * index + 9, {"eval/accuracy": accuracy, "eval/loss": 1 - accuracy})
    return directory


def add(root: pathlib.Path, **run) -> papers.Result:
    name = run.get("name", "first")
    return entry.add(paper(root), row(root, name), workdir(root, **run))
