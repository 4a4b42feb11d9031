"""The result of one evaluation of a trained network, in `workdir/evaluations/NAME.json`."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn.errors import UserError
from cnn.report import files, text

FOLDER = "evaluations"
SHOWN_ROWS = 20


class Table(NamedTuple):
    """Rows of texts and numbers; None is shown as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class Measurement(NamedTuple):
    """What an evaluation found.

    Attributes:
        name: Of the kind, as `cnn evaluate --on=NAME`.
        step: Of the checkpoint; 0 for weights.
        num_examples: That were measured; 0 where none were read.
        settings: What the numbers depend on besides, by name.
        metrics: By name; shares in [0, 1], losses in nats.
        tables: What has rows.
    """

    name: str
    step: int
    num_examples: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    tables: tuple[Table, ...] = ()


def save(directory: pathlib.Path, found: Measurement) -> pathlib.Path:
    """Writes it, whole or not at all; returns the file's path."""
    folder = directory / FOLDER
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = {
        **found._asdict(),
        "metrics": {name: files.encode_float(value) for name, value in found.metrics.items()},
        "tables": [table._asdict() for table in found.tables],
    }
    path = folder / f"{found.name}.json"
    files.write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
    return path


def load_all(directory: pathlib.Path) -> list[Measurement]:
    """All that were saved, by name.

    Raises:
        UserError: If a file is damaged.
    """
    return [_load(path) for path in sorted((directory / FOLDER).glob("*.json"))]


def lines(found: Measurement) -> Iterator[str]:
    """As a terminal shows it; of long tables the first rows."""
    step = f" of step {found.step}" if found.step else ""
    yield f"{found.name}{step}: {about(found)}"
    for name, value in found.metrics.items():
        yield f"  {name:24} {text.number(value)}"
    for table in found.tables:
        yield f"  {table.title}"
        rows = [table.columns, *(shown(row) for row in table.rows[:SHOWN_ROWS])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            yield "    " + "  ".join([first.strip().ljust(widths[0]), *rest])
        if len(table.rows) > SHOWN_ROWS:
            yield f"    ... and {len(table.rows) - SHOWN_ROWS:,} more"


def about(found: Measurement) -> str:
    """How many examples, and the settings, in a line."""
    parts = [f"{found.num_examples:,} examples"] if found.num_examples else []
    return ", ".join([*parts, *(f"{name} {value}" for name, value in found.settings.items())])


def shown(row: Sequence[Any]) -> tuple[str, ...]:
    """The cells of a row as texts."""
    return tuple(map(_cell, row))


def _cell(value: Any) -> str:
    if value is None:
        return text.DASH
    if isinstance(value, float):
        return text.number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _load(path: pathlib.Path) -> Measurement:
    content = files.read_json(path) or {}
    try:
        tables = tuple(
            Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])))
            for t in content["tables"]
        )
        metrics = {name: files.decode_float(x) for name, x in content["metrics"].items()}
        return Measurement(**{**content, "metrics": metrics, "tables": tables})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); delete it and evaluate again") from error
