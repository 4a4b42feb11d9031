"""A finished run enters the ledger: a line of `results.csv` and a short log."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn.errors import UserError
from cnn.ledger import fingerprint
from cnn.ledger.papers import BEST, LOGS, RESULTS_FILE, Paper, Result, Row, csv_text
from cnn.report import files, history, measurement
from cnn.report.log import read_metrics

FEATURES = "features"
"""Beside the runs of a generator's row, that of the classifier by which they are measured."""
_MAX_TRAINING_LINES = 100
_DIGITS = 6
_COMMIT_DIGITS = 12
Records = Sequence[Mapping[str, Any]]


class Log(NamedTuple):
    """A log of the ledger.

    Attributes:
        config: Of the run, but for the place of its data.
        environment: What trained: commit, versions, devices.
        records: All lines of evaluations, and at most a hundred of the training.
        features: The config of the classifier by which a generator was measured; None where none
            was asked.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    records: Records
    features: Mapping[str, Any] | None = None


def add(paper: Paper, row: Row, workdir: pathlib.Path) -> Result:
    """Enters the finished run in a workdir: writes its log, then its line.

    Raises:
        UserError: If the run is not finished, is of code that no commit has, or lacks the metric.
    """
    config = files.read_json(workdir / "config.json")
    environment = files.read_json(workdir / "environment.json")
    records = records_of(workdir)
    if config is None or environment is None or not (workdir / "evaluation.json").exists():
        raise UserError(f"{workdir} holds no finished run; the same command goes on with it")
    commit = _commit(environment)
    if commit is None:
        raise UserError(f"{workdir} was trained with code that no commit has; train it anew")
    seed = config["seed"]
    name = f"{LOGS}/{row.name}_seed{seed}.jsonl"
    result = Result(
        row.name,
        seed,
        value_of(row.metric, records, name),
        fingerprint.digest(config),
        commit,
        hardware(environment),
        round((history.training_seconds(list(records)) or 0.0) / 3600, 4),
        name,
    )
    features = files.read_json(workdir.parent / FEATURES / "config.json") if row.features else None
    text = _text(config, {**environment, "commit": commit}, records, features)
    (paper.directory / LOGS).mkdir(exist_ok=True)
    files.write_atomically(paper.directory / name, text.encode())
    places = {one.name: place for place, one in enumerate(paper.rows)}
    others = [r for r in paper.results if (r.row, r.seed) != (row.name, seed)]
    results = sorted([*others, result], key=lambda r: (places.get(r.row, -1), r.row, r.seed))
    files.write_atomically(paper.directory / RESULTS_FILE, csv_text(results).encode())
    return result


def records_of(workdir: pathlib.Path) -> Records:
    """The lines of a run's log, and one of each evaluation that `cnn evaluate --on` kept of it."""
    kept = [
        {"step": found.step, **{f"{found.name}/{key}": x for key, x in found.metrics.items()}}
        for found in measurement.load_all(workdir)
    ]
    return [*read_metrics(workdir), *kept]


def value_of(metric: str, records: Records, where: str) -> float:
    """The value of a row's metric in the lines of a run; `where` is for the message.

    Raises:
        UserError: If no evaluation has it.
    """
    name = metric.removeprefix(BEST)
    values = [record[name] for record in records if name in record]
    if not values:
        raise UserError(f"{where} has no {name!r}")
    return round(max(values) if metric.startswith(BEST) else values[-1], _DIGITS)


def hardware(environment: Mapping[str, Any]) -> str:
    """What trained, in words: "2 CPU cores", "8 x NVIDIA H100", "16 x TPU v5 lite"."""
    devices = [device.partition(" ")[2] or device for device in environment["devices"]]
    if environment["devices"][0].startswith("cpu"):
        return f"{environment['cpus']} CPU cores"
    # A comma would part columns.
    return f"{len(devices)} x {devices[0].replace(',', ' ')}"


def read_log(path: pathlib.Path) -> Log:
    """Reads a log of the ledger. Raises a UserError where that cannot be done."""
    try:
        first, *rest = (json.loads(line) for line in path.read_text().splitlines())
        return Log(first["config"], first["environment"], rest, first.get(FEATURES))
    except FileNotFoundError as error:
        raise UserError(f"the log {path} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the log {path} is damaged ({error}); restore it") from error


def _commit(environment: Mapping[str, Any]) -> str | None:
    """Of all sessions; None where one was of code that no commit has."""
    sessions = [environment, *environment.get("resumed", [])]
    if any(session["commit"] is None or session["dirty"] for session in sessions):
        return None
    return "+".join(dict.fromkeys(session["commit"][:_COMMIT_DIGITS] for session in sessions))


def _text(
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    records: Records,
    features: Mapping[str, Any] | None,
) -> str:
    about = {
        "config": _without_place(config),
        "environment": {
            key: environment[key]
            for key in ("commit", "python", "cpus", "versions", "devices", "processes")
        },
    }
    if features is not None:
        about[FEATURES] = _without_place(features)
    training = [r for r in records if any(name.startswith("train/") for name in r)]
    every = -(-len(training) // _MAX_TRAINING_LINES) or 1
    kept = {id(record) for record in training[::-every]}
    lines = [r for r in records if id(r) in kept or not any(n.startswith("train/") for n in r)]
    shown = [{name: _short(value) for name, value in line.items()} for line in lines]
    return "".join(json.dumps(line) + "\n" for line in (about, *shown))


def _without_place(config: Mapping[str, Any]) -> dict[str, Any]:
    # Paths are of the machine that trained, and nobody else's concern.
    return {**config, "data": {**config["data"], "root": ""}}


def _short(value: float | int | str) -> float | int | str:
    # Six digits are what a table or a curve can show; the file is to stay small.
    encoded = files.encode_float(value) if isinstance(value, float) else value
    return float(f"{encoded:.{_DIGITS}g}") if isinstance(encoded, float) else encoded
