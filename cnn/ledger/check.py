"""What does not fit: tables edited by hand, results without a log or of another config."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn.errors import UserError
from cnn.ledger import entry, fingerprint, papers, tables
from cnn.ledger.papers import LOGS, Paper, Result, Row

ReadConfig = Callable[[str, Sequence[str]], Mapping[str, Any]]
"""(FILE.py[:ARGUMENT], overrides as words) -> the config; it may raise a UserError."""


def findings(root: pathlib.Path, read_config: ReadConfig, base: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong, one line each.

    Args:
        root: The directory `experiments/`.
        read_config: Builds a row's config.
        base: The config of all defaults.

    Raises:
        UserError: If there is no paper.
    """
    found: list[str] = []
    read: list[Paper] = []
    for directory in papers.directories(root):
        try:
            read.append(papers.read(directory))
        except UserError as error:
            found.append(str(error))
    for paper in read:
        found += _paper(paper, root, read_config, base)
    # A table of a paper with mistakes would be another mistake, for the same reason.
    return found or list(_tables(root, read))


def build(root: pathlib.Path, row: Row, read_config: ReadConfig) -> Mapping[str, Any]:
    """The config of a row, whose path starts above `experiments/`. Raises as `read_config`."""
    return read_config(str(root.parent / row.config), row.words())


def build_features(
    root: pathlib.Path, row: Row, read_config: ReadConfig, overrides: Sequence[str] = ()
) -> Mapping[str, Any] | None:
    """The config of the classifier of a generator's row; None where it has none."""
    return read_config(str(root.parent / row.features), overrides) if row.features else None


class _Configs(NamedTuple):
    """Of a row, and of the classifier by which it is measured, if it is by one."""

    trained: Mapping[str, Any]
    features: Mapping[str, Any] | None


def _paper(
    paper: Paper, root: pathlib.Path, read_config: ReadConfig, base: Mapping[str, Any]
) -> Iterator[str]:
    rows = {row.name: row for row in paper.rows}
    configs: dict[str, _Configs] = {}
    for row in paper.rows:
        try:
            features = build_features(root, row, read_config)
            configs[row.name] = _Configs(build(root, row, read_config), features)
        except UserError as error:
            yield f"{paper.name}/{row.name}: {error}"
    seen: set[tuple[str, int]] = set()
    for result in paper.results:
        where = f"{paper.name}/{result.row} seed {result.seed}"
        if result.row not in rows:
            yield f"{where} is a result without a row in {papers.PAPER_FILE}"
        elif result.seed not in rows[result.row].seeds:
            yield f"{where} is no seed of the row, which has {list(rows[result.row].seeds)}"
        elif (result.row, result.seed) in seen:
            yield f"{where} is there twice"
        elif result.row in configs:
            wrong = _result(paper, rows[result.row], result, configs[result.row], base)
            yield from (f"{where}: {text}" for text in wrong)
        seen.add((result.row, result.seed))
    known = {result.log for result in paper.results}
    for path in sorted((paper.directory / LOGS).glob("*")):
        if f"{LOGS}/{path.name}" not in known:
            yield f"{paper.name}: {LOGS}/{path.name} is the log of no result"


def _result(
    paper: Paper, row: Row, result: Result, configs: _Configs, base: Mapping[str, Any]
) -> Iterator[str]:
    try:
        log = entry.read_log(paper.directory / result.log)
        value = entry.value_of(row.metric, log.records, result.log)
    except UserError as error:
        yield str(error)
        return
    if not math.isclose(value, result.value, rel_tol=1e-5):
        yield f"{row.metric} is {result.value} in {papers.RESULTS_FILE} and {value} in {result.log}"
    if log.config["seed"] != result.seed:
        yield f"{result.log} is of seed {log.config['seed']}"
    if fingerprint.digest(log.config) != result.config_hash:
        yield f"config_hash is {result.config_hash}, {result.log} has the config of another"
    if log.environment["commit"] != result.commit:
        yield f"commit is {result.commit}, {result.log} has {log.environment['commit']}"
    change = fingerprint.difference(log.config, configs.trained, base)
    if change is not None:
        yield f"its config is not that of {row.config} any more: {change}; run it again"
    change = fingerprint.difference(log.features or {}, configs.features or {}, base)
    if change is not None:
        yield f"its classifier is not that of {row.features!r} any more: {change}; run it again"


def _tables(root: pathlib.Path, read: Sequence[Paper]) -> Iterator[str]:
    try:
        texts = tables.rendered(root, read)
    except UserError as error:
        yield str(error)
        return
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            yield f"{path}: the generated table is old or edited by hand; run cnn ledger render"
