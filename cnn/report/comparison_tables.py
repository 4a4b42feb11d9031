"""The tables of a comparison's page: which columns, and how their numbers are written."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cnn.report import text
from cnn.report.comparison_figures import Row, Tables


class Cell(NamedTuple):
    """What is shown, what numbers are sorted by, and where it leads, if anywhere."""

    text: str
    sort: float | None = None
    link: str = ""


class Table(NamedTuple):
    """A table of the page; the first `texts` columns are no numbers."""

    name: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    texts: int
    data: str


Column = tuple[str, Callable[[Row], Cell]]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows of the same keys; None is an empty cell, numbers are written in full."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def data_uri(rows: Sequence[Row]) -> str:
    """The CSV inside a link."""
    return f"data:text/csv;base64,{base64.b64encode(as_csv(rows).encode()).decode()}"


def table(name: str, tables: Tables) -> Table | None:
    """The table of that name as the page shows it; None where it has no row."""
    rows = tables[name]
    if not rows:
        return None
    columns, texts = _COLUMNS[name]
    cells = [[make(row) for _, make in columns] for row in rows]
    return Table(name, tuple(title for title, _ in columns), cells, texts, data_uri(rows))


def agreement(tables: Tables) -> dict[str, Any] | None:
    """The kappas of the pairs as a square, for a coloured table."""
    names = [row["model"] for row in tables["models"]]
    if len(names) < 2:
        return None
    known = {(row["left"], row["right"]): row["error_kappa"] for row in tables["pairs"]}
    known |= {(right, left): kappa for (left, right), kappa in known.items()}
    rows = [(left, [known.get((left, right)) for right in names]) for left in names]
    return {"names": names, "rows": rows}


def _word(key: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(str(row[key]))


def _number(key: str, show: Callable[[Any], str]) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row[key]
        return Cell(text.DASH) if value is None else Cell(show(value), float(value))

    return cell


def _mean(key: str) -> Callable[[Row], Cell]:
    """Mean and deviation of shares, in per cent."""

    def cell(row: Row) -> Cell:
        mean, std = row[f"{key}_mean"], row[f"{key}_std"]
        if mean is None:
            return Cell(text.DASH)
        shown = f"{100 * mean:.2f}"
        return Cell(shown if std is None else f"{shown} ± {100 * std:.2f}", mean)

    return cell


def _interval(key: str, *, lowest: float = 0.0) -> Callable[[Row], Cell]:
    """In per cent, cut at what can be: Student's interval knows of no bounds."""

    def cell(row: Row) -> Cell:
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        if low is None:
            return Cell(text.DASH)
        return Cell(f"{100 * max(low, lowest):.2f} to {100 * min(high, 1.0):.2f}", low)

    return cell


def _p(key: str) -> Callable[[Row], Cell]:
    return _number(key, lambda p: "< 0.0001" if p < 1e-4 else f"{p:.4f}")


def _link(row: Row) -> Cell:
    return Cell("report", None, row["report"])


def _count(value: float | int) -> str:
    return f"{value:,.0f}"


_MODELS: tuple[Column, ...] = (
    ("Model", _word("model")),
    ("Kind", _word("kind")),
    ("Accuracy, %", _mean("accuracy")),
    ("95 % interval", _interval("accuracy")),
    ("Loss", _number("loss_mean", text.number)),
    ("ECE, %", _mean("ece")),
    ("Seeds agree, %", _number("seeds_agreement", lambda x: f"{100 * x:.1f}")),
    ("Parameters", _number("parameters", text.quantity)),
    ("MACs", _number("macs", text.quantity)),
    ("Steps", _number("num_steps", _count)),
    ("Images", _number("images", text.quantity)),
    ("Training MACs", _number("train_macs", text.quantity)),
    ("Step memory, B", _number("step_bytes", text.quantity)),
    ("Seconds", _number("seconds", lambda x: f"{x:.1f}")),
)
_PAIRS: tuple[Column, ...] = (
    ("A", _word("left")),
    ("B", _word("right")),
    ("A \N{MINUS SIGN} B, points", _mean("difference")),
    ("95 % interval", _interval("difference", lowest=-1.0)),
    ("Paired t, p", _p("t_p")),
    ("after Holm", _p("t_p_holm")),
    ("Only A right", _number("only_left_mean", lambda x: f"{x:.1f}")),
    ("Only B right", _number("only_right_mean", lambda x: f"{x:.1f}")),
    ("McNemar, p", _p("mcnemar_p")),
    ("after Holm", _p("mcnemar_p_holm")),
    ("Same answer, %", _number("agreement", lambda x: f"{100 * x:.1f}")),
    ("Kappa of errors", _number("error_kappa", lambda x: f"{x:.3f}")),
)
_EFFICIENCY: tuple[Column, ...] = (
    ("Model", _word("model")),
    ("Kind", _word("kind")),
    ("Share, %", _number("fraction", lambda x: f"{100 * x:g}")),
    ("Examples", _number("num_train", _count)),
    ("Accuracy, %", _mean("accuracy")),
    ("95 % interval", _interval("accuracy")),
    ("Steps", _number("num_steps", _count)),
    ("Batch", _number("batch_size", _count)),
)
_ROBUSTNESS: tuple[Column, ...] = (
    ("Model", _word("model")),
    ("Kind", _word("kind")),
    ("Change", _word("condition")),
    ("Amount", _number("amount", lambda x: f"{x:g}")),
    ("Accuracy, %", _mean("accuracy")),
    ("95 % interval", _interval("accuracy")),
)
_RUNS: tuple[Column, ...] = (
    ("Model", _word("model")),
    ("Share, %", _number("fraction", lambda x: f"{100 * x:g}")),
    ("Seed", _number("seed", _count)),
    ("Accuracy, %", _number("accuracy", lambda x: f"{100 * x:.2f}")),
    ("Loss", _number("loss", text.number)),
    ("ECE, %", _number("ece", lambda x: f"{100 * x:.2f}")),
    ("Seconds", _number("seconds", lambda x: f"{x:.1f}")),
    ("Run", _link),
)
_COLUMNS = {
    "models": (_MODELS, 2),
    "pairs": (_PAIRS, 2),
    "efficiency": (_EFFICIENCY, 2),
    "robustness": (_ROBUSTNESS, 3),
    "runs": (_RUNS, 1),
}
"""Of each table, and how many of them are texts."""
