"""A table of paths and labels, as CSV or JSONL: classes, several classes a picture, or numbers."""

from __future__ import annotations

import csv
import json
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from cnn.data.contract import Example, SourceInfo, Sources
from cnn.data.decode import read_file, read_image
from cnn.data.sampling import Subset, stratified
from cnn.errors import UserError, unknown

TARGETS = ("class", "multi", "float")
ENDINGS = (".csv", ".jsonl")
EVAL_NAMES = ("val", "valid", "validation", "test")
SEPARATOR = "|"


class TableSource:
    """Image files with the labels that a table gives them, decoded to RGB when they are read."""

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        labels: Shaped[np.ndarray, "examples ..."],
        info: SourceInfo,
        min_px: int = 0,
    ) -> None:
        self._paths = tuple(paths)
        self._min_px = min_px
        self.labels = labels
        self.info = info

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> bytes:
        """As `cnn.data.contract.Encoded`."""
        return read_file(self._paths[index])

    def decoded(self, index: int, stored: bytes, /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        label = self.labels[index]
        image = read_image(stored, name=str(self._paths[index]), min_px=self._min_px)
        return {"image": image, "label": int(label) if self.labels.ndim == 1 else label}


def table(
    root: str | os.PathLike[str],
    train_split: str,
    eval_split: str,
    eval_fraction: float,
    *,
    path_column: str = "path",
    label_column: str = "label",
    target: str = "class",
    decode_min_px: int = 0,
) -> Sources:
    """The rows of tables, each a picture.

    Classes are all labels of the training table, sorted; by value where all are whole numbers.

    Args:
        root: Folder of the tables, to which the paths in them are relative.
        train_split: The training table inside `root`; "" is `train.csv` or `train.jsonl`.
        eval_split: The evaluation table; "" is the first of `EVAL_NAMES` with such an ending, or,
            if there is none, a share of the training table.
        eval_fraction: That share of each class, in (0, 1); always the same rows.
        path_column: Column (CSV) or key (JSONL) of the path.
        label_column: Column or key of the label.
        target: "class": one class a row. "multi": any number of classes, parted by "|" (a list in
            JSONL); an empty cell is none. "float": one number or several, parted alike.
        decode_min_px: As for `cnn.data.folder.folder`.

    Raises:
        UserError: If a table or a column is missing, a row is wrong, a picture is not there, or the
            evaluation has a class that the training has not.
    """
    if target not in TARGETS:
        raise unknown("data.options.table.target", target, TARGETS)
    base = pathlib.Path(root).expanduser()
    if not str(root) or not base.is_dir():
        raise UserError(f'data.source="table" needs data.root, the folder of tables; got {root!r}')
    columns = _Columns(path_column, label_column, target)
    train_path = _find(base, train_split, ("train",))
    if train_path is None:
        raise UserError(f"no train.csv or train.jsonl in {str(base)!r}; set data.train_split")
    train = _read(base, train_path, columns)
    names = _names(train, columns)
    eval_path = _find(base, eval_split, EVAL_NAMES)
    seen = _source(train, names, columns, decode_min_px)
    if eval_path is not None:
        return Sources(seen, _source(_read(base, eval_path, columns), names, columns, 0))
    if not 0 < eval_fraction < 1:
        raise UserError(f"data.eval_fraction must be above 0 and below 1, got {eval_fraction}")
    whole = _source(train, names, columns, 0)
    held_out = stratified(whole.labels, eval_fraction)
    rest = np.setdiff1d(np.arange(len(whole)), held_out)
    if not len(rest):
        raise UserError(f"{train_path} has too few rows to hold out {eval_fraction:g} of them")
    return Sources(Subset(seen, rest), Subset(whole, held_out))


class _Columns(NamedTuple):
    path: str
    label: str
    target: str


class _Rows(NamedTuple):
    """Where they come from, the pictures, and the labels as strings or numbers."""

    file: pathlib.Path
    paths: list[pathlib.Path]
    labels: list[Any]


def _find(base: pathlib.Path, name: str, usual: tuple[str, ...]) -> pathlib.Path | None:
    if name:
        if not (base / name).is_file():
            known = sorted(path.name for path in base.iterdir() if path.suffix in ENDINGS)
            raise UserError(f"no table {name!r} in {str(base)!r} (known: {', '.join(known)})")
        if pathlib.PurePath(name).suffix not in ENDINGS:
            raise UserError(f"the table {name!r} must end in .csv or .jsonl")
        return base / name
    found = (base / f"{stem}{ending}" for stem in usual for ending in ENDINGS)
    return next((path for path in found if path.is_file()), None)


def _read(base: pathlib.Path, file: pathlib.Path, columns: _Columns) -> _Rows:
    paths, labels = [], []
    for number, row in _records(file):
        for column in (columns.path, columns.label):
            if row.get(column) is None:
                raise UserError(
                    f"{file} line {number} has no {column!r} (known: {', '.join(map(str, row))}); "
                    "set data.options.table.path_column and .label_column"
                )
        paths.append(base / str(row[columns.path]))
        try:
            labels.append(_cell(row[columns.label], columns.target))
        except ValueError as error:
            raise UserError(f"{file} line {number}: {error}") from error
    if not paths:
        raise UserError(f"{file} has no rows")
    _refuse_missing(file, paths)
    return _Rows(file, paths, labels)


def _records(file: pathlib.Path) -> list[tuple[int, Mapping[str, Any]]]:
    """The rows as mappings, with the number of their line."""
    try:
        # A byte order mark is what spreadsheets put first.
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UserError(f"cannot read {file}: {reason}") from error
    if file.suffix == ".csv":
        reader = csv.DictReader(text.splitlines())
        return [(reader.line_num, row) for row in reader]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file} line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{file} line {number} is no JSON object")
        found.append((number, row))
    return found


def _cell(value: Any, target: str) -> Any:
    if target == "class":
        if isinstance(value, (list, dict)) or str(value) == "":
            raise ValueError(f"the label {value!r} is no class")
        return str(value)
    values = value if isinstance(value, list) else [v for v in str(value).split(SEPARATOR) if v]
    if target == "multi":
        return [str(v) for v in values]
    try:
        numbers = [float(v) for v in values]
    except (TypeError, ValueError):
        raise ValueError(f"the label {value!r} is no number") from None
    if not numbers or not np.isfinite(numbers).all():
        raise ValueError(f"the label {value!r} is no finite number")
    return numbers


def _refuse_missing(file: pathlib.Path, paths: list[pathlib.Path]) -> None:
    there = {}
    for folder in {path.parent for path in paths}:
        # One listing a folder: asking for a million files one by one takes minutes on a network.
        try:
            there[folder] = {entry.name for entry in os.scandir(folder)}
        except OSError:
            there[folder] = set()
    missing = [path for path in paths if path.name not in there[path.parent]]
    if missing:
        raise UserError(
            f"{file} names {len(missing):,} of {len(paths):,} pictures that are not there, the "
            f"first {missing[0]}; paths are relative to data.root"
        )


def _names(rows: _Rows, columns: _Columns) -> tuple[str, ...]:
    if columns.target == "float":
        widths = Counter(len(label) for label in rows.labels)
        if len(widths) > 1:
            raise UserError(f"{rows.file} has rows of {sorted(widths)} numbers; it takes as many")
        width = next(iter(widths))
        one = width == 1
        return tuple(columns.label if one else f"{columns.label}{i}" for i in range(width))
    seen = {v for label in rows.labels for v in (label if columns.target == "multi" else [label])}
    if len(seen) < 2:
        raise UserError(f"{rows.file} has {len(seen)} class(es); it takes two or more")
    whole = all(name.isdecimal() for name in seen)
    return tuple(sorted(seen, key=int) if whole else sorted(seen))


def _source(rows: _Rows, names: tuple[str, ...], columns: _Columns, min_px: int) -> TableSource:
    info = SourceInfo(str(rows.file), names, columns.target)
    if columns.target == "float":
        if any(len(label) != len(names) for label in rows.labels):
            raise UserError(f"{rows.file} must have {len(names)} number(s) a row, as the training")
        return TableSource(rows.paths, np.asarray(rows.labels, np.float32), info, min_px)
    index = {name: i for i, name in enumerate(names)}
    flat = [label if columns.target == "multi" else [label] for label in rows.labels]
    new = sorted({v for label in flat for v in label} - index.keys())
    if new:
        raise UserError(
            f"{rows.file} has classes that the training table has not: {', '.join(new[:10])} "
            f"(known: {', '.join(names[:40])})"
        )
    if columns.target == "class":
        return TableSource(
            rows.paths, np.asarray([index[v] for (v,) in flat], np.int64), info, min_px
        )
    labels = np.zeros((len(flat), len(names)), np.float32)
    for row, label in enumerate(flat):
        labels[row, [index[v] for v in label]] = 1.0
    return TableSource(rows.paths, labels, info, min_px)
