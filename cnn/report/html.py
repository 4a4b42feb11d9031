"""The report of a run: one page, `workdir/report.html`, that needs nothing beside it."""

from __future__ import annotations

import importlib.resources
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np

from cnn.report import (
    figures,
    files,
    history,
    matrix,
    measurement,
    picture,
    reliability,
    scores,
    sheet,
    text,
)
from cnn.report.evaluation import Evaluation
from cnn.report.log import read_metrics

REPORT_FILE = "report.html"
MAX_MATRIX_CLASSES = 50
MAX_PAIRS = 30
# Upscaled without smoothing up to this, since a blurred digit hides what the model saw.
_PIXELATED_PX = 96


class Tile(NamedTuple):
    """One number of the headline, with what it is and what it rests on."""

    label: str
    value: str
    detail: str


def write_report(workdir: str | pathlib.Path, *, evaluation: Evaluation | None) -> pathlib.Path:
    """Makes `workdir/report.html` from what the run has written so far, whole or not at all.

    Reads `config.json`, `environment.json`, `metrics.jsonl`, `evaluations` and `samples`, each of
    which may be missing. Equal input gives an equal page.

    Args:
        workdir: The directory of the run.
        evaluation: What is to be shown in tables and pictures; None leaves them out. See
            `cnn.report.evaluation.load` for the one that was saved.

    Returns:
        The path of the page.

    Raises:
        UserError: If one of the files is damaged, or the page cannot be written.
    """
    workdir = pathlib.Path(workdir)
    page = render(
        workdir.resolve().name,
        config=files.read_json(workdir / "config.json") or {},
        environment=files.read_json(workdir / "environment.json") or {},
        records=read_metrics(workdir),
        evaluation=evaluation,
        measurements=measurement.load_all(workdir),
        samples=sheet.kept(workdir),
    )
    path = workdir / REPORT_FILE
    files.write_atomically(path, page.encode())
    return path


def render(
    name: str,
    *,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    records: history.Records,
    evaluation: Evaluation | None,
    measurements: Sequence[measurement.Measurement] = (),
    samples: Sequence[sheet.Kept] = (),
) -> str:
    """The page as text.

    Args:
        name: Of the run.
        config: The sections of the config; `model.name`, `data.source`, `data.name` and `data.root`
            are read for the headline.
        environment: Where the run was made; anything nested. `command` may be a list of words.
        records: The lines of the metric log.
        evaluation: See `write_report`.
        measurements: Of further evaluations, each a section.
        samples: Sheets of images that were made in training.
    """
    package = importlib.resources.files("cnn.report")
    environment_of_page = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment_of_page.from_string((package / "page.html.jinja").read_text("utf-8"))
    found = history.series(records)
    per_epoch = history.steps_per_epoch(records)
    return template.render(
        style=(package / "page.css").read_text("utf-8"),
        name=name,
        model=_model_name(config),
        data=_data_name(config),
        tiles=_tiles(records, per_epoch, evaluation),
        notices=_notices(found, evaluation),
        curves=figures.curves(found, steps_per_epoch=per_epoch),
        samples=[(f"{one.step:,}", picture.data_uri(one.sheet)) for one in samples],
        results=_results(found, evaluation),
        evaluation=evaluation,
        classes=_class_rows(evaluation),
        matrix=_matrix(evaluation),
        pairs=_pairs(evaluation),
        mistakes=_mistakes(evaluation),
        measurements=[_measurement(found) for found in measurements],
        config=text.sections(config),
        environment=text.sections(_with_command(environment)),
    )


def _model_name(config: Mapping[str, Any]) -> str:
    return str(_section(config, "model").get("name") or "")


def _data_name(config: Mapping[str, Any]) -> str:
    """The data set's own name, the folder's, or what kind of source it is."""
    data = _section(config, "data")
    root = pathlib.PurePath(str(data.get("root") or "")).name
    return str(data.get("name") or root or data.get("source") or "")


def _with_command(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The command as one line that can be pasted into a shell."""
    command = environment.get("command")
    if isinstance(command, list):
        return {**environment, "command": shlex.join(map(str, command))}
    return dict(environment)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _tiles(
    records: history.Records, per_epoch: float | None, evaluation: Evaluation | None
) -> list[Tile]:
    tiles = []
    if evaluation is not None and "accuracy" in evaluation.metrics and evaluation.num_examples:
        accuracy, count = float(evaluation.metrics["accuracy"]), evaluation.num_examples
        detail = f"of {count:,} examples"
        if 0 <= accuracy <= 1:
            low, high = scores.wilson_interval(accuracy, count)
            detail = (
                f"{round(accuracy * count):,} of {count:,} examples; "
                f"{text.percent(0.95, decimals=0)} interval "
                f"{100 * low:.2f}{text.DASH}{text.percent(high)}"
            )
        tiles.append(Tile("Accuracy", text.percent(accuracy), detail))
    for metric, label in {"miou": "IoU", "ap": "AP", "ap50": "AP50"}.items():
        if evaluation is not None and metric in evaluation.metrics:
            detail = f"of {evaluation.num_examples:,} examples, mean over classes"
            tiles.append(Tile(label, text.percent(float(evaluation.metrics[metric])), detail))
    step = max(history.last_step(records), evaluation.step if evaluation else 0)
    if step:
        detail = f"{step / per_epoch:,.4g} epochs" if per_epoch else ""
        tiles.append(Tile("Steps", f"{step:,}", detail))
    seconds = history.training_seconds(records)
    if seconds is not None:
        tiles.append(Tile("Training time", text.duration(seconds), "without the evaluations"))
    speed = history.images_per_second(records)
    if speed is not None:
        tiles.append(Tile("Images per second", f"{speed:,.0f}", "median over the log"))
    waited = history.data_wait(records)
    if waited is not None:
        tiles.append(Tile("Waiting for data", text.percent(waited), "of the time, median"))
    return tiles


def _notices(found: Sequence[history.Series], evaluation: Evaluation | None) -> list[str]:
    """What a reader must know before the numbers."""
    notices = []
    if not found:
        notices.append("No metrics have been logged yet.")
    if evaluation is None:
        notices.append(
            "This run has not been evaluated yet: scores by class, confusion matrix and mistakes "
            "come with an evaluation."
        )
    for wrong in history.non_finite(found):
        values = "value is" if wrong.points == 1 else "values are"
        notices.append(
            f"{wrong.points:,} {values} not finite in {wrong.name}, the first at step "
            f"{wrong.first_step:,}; the curve has a gap there."
        )
    return notices


def _results(
    found: Sequence[history.Series], evaluation: Evaluation | None
) -> list[tuple[str, ...]]:
    """Rows (metric, split, last value, its step, lowest, highest), the final evaluation first."""
    rows = []
    if evaluation is not None:
        split = "final evaluation"
        if evaluation.views != "center":
            split += f", {evaluation.views} averaged"
        for metric, value in evaluation.metrics.items():
            shown = text.number(float(value))
            rows.append((_words(metric), split, shown, f"{evaluation.step:,}", "", ""))
    for one in found:
        finite = one.values[np.isfinite(one.values)]
        low, high = text.DASH, text.DASH
        if len(finite):
            low, high = text.number(float(finite.min())), text.number(float(finite.max()))
        last = text.number(float(one.values[-1]))
        rows.append((_words(one.metric), one.split, last, f"{one.steps[-1]:,}", low, high))
    return rows


def _class_rows(evaluation: Evaluation | None) -> list[tuple[str, ...]]:
    """Rows (name, examples, recall, precision, F1); of more classes than fit, the worst first.

    Of objects without the last, which is none.
    """
    if evaluation is None:
        return []
    result = scores.by_class(evaluation.confusion)
    order = np.arange(len(result.f1))
    if len(order) > MAX_MATRIX_CLASSES:
        # NaN, a class that never occurs, sorts last.
        order = np.argsort(result.f1, kind="stable")
    shares = [result.recall, result.precision, result.f1]
    return [
        (
            evaluation.class_names[i],
            f"{result.examples[i]:,}",
            *(text.percent(float(share[i]), decimals=1) for share in shares),
        )
        for i in order
        if not (evaluation.unit == "objects" and i == len(order) - 1)
    ]


def _matrix(evaluation: Evaluation | None) -> list[list[matrix.Cell]]:
    if evaluation is None or len(evaluation.class_names) > MAX_MATRIX_CLASSES:
        return []
    return matrix.cells(evaluation.confusion)


def _pairs(evaluation: Evaluation | None) -> list[tuple[str, ...]]:
    """Rows (true, predicted, examples, share of the true class), for a matrix that is too large."""
    if evaluation is None or len(evaluation.class_names) <= MAX_MATRIX_CLASSES:
        return []
    totals = evaluation.confusion.sum(axis=1)
    return [
        (
            evaluation.class_names[pair.true],
            evaluation.class_names[pair.predicted],
            f"{pair.examples:,}",
            text.percent(pair.examples / int(totals[pair.true]), decimals=1),
        )
        for pair in scores.confused_pairs(evaluation.confusion, limit=MAX_PAIRS)
    ]


def _mistakes(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    limit_px = 0 if evaluation is None else evaluation.shown_px
    return [
        {
            "uri": picture.data_uri(picture.shrunk(mistake.image, limit_px=limit_px)),
            "pixelated": max(mistake.image.shape[:2]) <= _PIXELATED_PX,
            "true": mistake.true,
            "predicted": mistake.predicted,
            "probability": text.percent(float(mistake.probability), decimals=1),
            "index": mistake.index,
        }
        for mistake in (evaluation.mistakes if evaluation else ())
    ]


def _measurement(found: measurement.Measurement) -> dict[str, Any]:
    return {
        "title": _words(found.name),
        "lead": f"Step {found.step:,}: {measurement.about(found)}.",
        "metrics": [(_words(name), text.number(x)) for name, x in found.metrics.items()],
        "tables": [
            (_words(table.title), table.columns, [measurement.shown(row) for row in table.rows])
            for table in found.tables
            if not reliability.is_diagram(table)
        ],
        "figures": reliability.diagrams(found.tables),
    }


def _words(metric: str) -> str:
    return metric.replace("_", " ")
