"""The report of a comparison: tables as CSV and JSON, and one page that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

from cnn.report import comparison_figures as drawn
from cnn.report import files, text
from cnn.report.comparison_figures import Figure, Tables
from cnn.report.comparison_tables import Table, agreement, as_csv, data_uri, table

REPORT_FILE = "report.html"
RESULTS_FILE = "comparison.json"
TABLES_DIR = "tables"


class Section(NamedTuple):
    """A part of the page."""

    title: str
    lead: str
    figures: Sequence[Figure]
    table: Table | None


def write_report(
    directory: pathlib.Path,
    tables: Tables,
    sentences: Sequence[str],
    *,
    budget: Mapping[str, Any],
    about: Mapping[str, Any],
) -> pathlib.Path:
    """Writes `tables/*.csv`, `comparison.json` and `report.html`, each whole or not at all.

    Equal input gives equal files.

    Args:
        directory: Of the comparison.
        tables: As `cnn.compare.analysis.tables` makes them.
        sentences: The summary.
        budget: `kind` and `amount`.
        about: Program and machine, anything nested.

    Returns:
        The path of the page.

    Raises:
        UserError: If something cannot be written.
    """
    found = figures(tables)
    folder = directory / TABLES_DIR
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # The table of all costs is there cost by cost.
    parts = {name: rows for name, rows in tables.items() if rows and name != "pareto"}
    for name, rows in (parts | {one.name: one.rows for one in flat(found)}).items():
        files.write_atomically(folder / f"{name}.csv", as_csv(rows).encode())
    results = {"summary": list(sentences), "budget": budget, "tables": tables}
    content = json.dumps(results, indent=1, allow_nan=False)
    files.write_atomically(directory / RESULTS_FILE, content.encode() + b"\n")
    page = render(directory.resolve().name, tables, sentences, found, budget=budget, about=about)
    path = directory / REPORT_FILE
    files.write_atomically(path, page.encode())
    return path


def figures(tables: Tables) -> dict[str, list[Figure]]:
    """All figures, by the section they belong to."""
    return {
        "curves": drawn.learning_curves(tables),
        "trade_offs": drawn.trade_offs(tables),
        "efficiency": drawn.efficiency(tables),
        "robustness": drawn.robustness(tables),
        "calibration": drawn.calibration(tables),
    }


def flat(found: Mapping[str, Sequence[Figure]]) -> list[Figure]:
    """The figures of all sections."""
    return [one for group in found.values() for one in group]


def render(
    name: str,
    tables: Tables,
    sentences: Sequence[str],
    found: Mapping[str, Sequence[Figure]],
    *,
    budget: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """The page as text; `found` are the figures, the rest is as for `write_report`."""
    package = importlib.resources.files("cnn.report")

    def read(file: str) -> str:
        return (package / file).read_text("utf-8")

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = read("comparison.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    models = tables["models"]
    return environment.from_string(read("comparison.html.jinja")).render(
        style=read("page.css") + read("comparison.css"),
        script=script,
        script_hash=digest,
        name=name,
        kinds=" and ".join(dict.fromkeys(row["kind"] for row in models)),
        num_models=len(models),
        num_seeds=models[0]["seeds"],
        budget=f"{text.quantity(budget['amount'])}{text.NBSP}{budget['kind']}",
        sentences=sentences,
        sections=_sections(tables, found),
        agreement=agreement(tables),
        data_uri=data_uri,
        environment=text.sections(about),
    )


def _sections(tables: Tables, found: Mapping[str, Sequence[Figure]]) -> list[Section]:
    sections = [
        Section("Accuracy", _LEADS["models"], [], table("models", tables)),
        Section("Learning curves", _LEADS["curves"], found["curves"], None),
        Section("Accuracy against cost", _LEADS["trade_offs"], found["trade_offs"], None),
        Section("Tests between models", _LEADS["pairs"], [], table("pairs", tables)),
        Section(
            "From fewer examples",
            _LEADS["efficiency"],
            found["efficiency"],
            table("efficiency", tables) if found["efficiency"] else None,
        ),
        Section(
            "Changed images",
            _LEADS["robustness"],
            found["robustness"],
            table("robustness", tables),
        ),
        Section("Calibration", _LEADS["calibration"], found["calibration"], None),
        Section("Runs", _LEADS["runs"], [], table("runs", tables)),
    ]
    return [one for one in sections if one.figures or one.table]


_LEADS = {
    "models": (
        "Mean ± standard deviation over the seeds, and Student's interval of the mean: it is about "
        "other seeds, not about other examples. ECE is the expected calibration error. MACs are "
        "those of one image, training MACs those of all steps with their backward passes. Step "
        "memory is what the compiled step reads, makes and needs meanwhile; seconds are those of "
        "all steps at the median speed, without compiling and evaluating."
    ),
    "curves": "Accuracy on the evaluation split; bands are one standard deviation over the seeds.",
    "trade_offs": (
        "The gray line joins the models that no other beats; circles are convolutional networks, "
        "triangles vision transformers, squares multilayer perceptrons. Bars are one standard "
        "deviation over the seeds."
    ),
    "pairs": (
        "Runs of the same seed are a pair: they saw the same examples in the same order. The "
        "t-test asks whether other seeds would differ as these do, McNemar's exact test, on the "
        "examples that only one of the two has right, whether other examples would. Its p-values "
        "of the seeds are combined so that they may depend on each other in any way (Rüger), and "
        "all are corrected for the number of pairs (Holm). Kappa is how much more often both are "
        "right or wrong together than their accuracies explain."
    ),
    "efficiency": "The same budget on fewer examples, which then come more often.",
    "robustness": (
        "Accuracy on changed images, without training on them any further. Directions, sides and "
        "noise are the same for all models. A model that cannot take a size has no value there."
    ),
    "calibration": (
        "The predictions of all seeds by confidence; on the gray line a model is as sure as right."
    ),
    "runs": "Each run's own report opens from where it lies beside this page.",
}
