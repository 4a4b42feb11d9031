"""Papers, their rows and the results of runs, as the files below `experiments/` hold them."""

from __future__ import annotations

import csv
import pathlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cnn.errors import UserError, unknown

PAPER_FILE = "paper.toml"
RESULTS_FILE = "results.csv"
LOGS = "logs"
BEST = "best:"
_NAME = re.compile(r"[A-Za-z0-9_]+")
_REQUIRED = {"name": str, "claim": str, "config": str, "metric": str, "seeds": list}
_OPTIONAL = {
    "overrides": dict,
    "expected": float,
    "expected_source": str,
    "from_memory": bool,
    "differences": str,
    "features": str,
}


class Row(NamedTuple):
    """A number that a paper states, and the training that should give it.

    Attributes:
        name: Unique within the paper.
        claim: What the number is of.
        config: Its file, with ":ARGUMENT" or without, as `cnn train` takes it; from the directory
            above `experiments/`.
        metric: Of the run's last evaluation, or "best:" and the metric for its largest value over
            all evaluations, where the paper chose so. More is better. With `features` one of
            `cnn evaluate --on=generation`, for instance "generation/recognised".
        seeds: Those that count.
        overrides: Values of the config by dotted key.
        expected: The paper's number in the unit of the metric; None where nobody published one.
        expected_source: Where it is stated.
        from_memory: Whether nobody checked that.
        differences: How this training differs from the paper's; "" for not at all.
        features: Of a generator, the config of the classifier that looks at what it makes; "" asks
            none.
    """

    name: str
    claim: str
    config: str
    metric: str
    seeds: tuple[int, ...]
    overrides: Mapping[str, Any] = {}
    expected: float | None = None
    expected_source: str = ""
    from_memory: bool = False
    differences: str = ""
    features: str = ""

    def words(self) -> list[str]:
        """The overrides as `cnn train` takes them."""
        return [f"--config.{key}={_shown(value)}" for key, value in self.overrides.items()]


class Result(NamedTuple):
    """A finished run of a row: a line of `results.csv`.

    Attributes:
        row: The name of its row.
        seed: Of the run.
        value: Of the row's metric.
        config_hash: As `cnn.ledger.fingerprint.digest`.
        commit: Of the code that trained; several, parted by "+", where it was changed in between.
        hardware: In words.
        hours: Of training, evaluations left out.
        log: The run's log, a path inside the paper's directory.
    """

    row: str
    seed: int
    value: float
    config_hash: str
    commit: str
    hardware: str
    hours: float
    log: str


class Paper(NamedTuple):
    """A directory below `experiments/`; `rows` are in the order of the file."""

    directory: pathlib.Path
    title: str
    citation: str
    rows: tuple[Row, ...]
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """The directory's."""
        return self.directory.name

    def of(self, row: Row) -> tuple[Result, ...]:
        """The results of a row, by seed."""
        found = (result for result in self.results if result.row == row.name)
        return tuple(sorted(found, key=lambda result: result.seed))


def directories(root: pathlib.Path) -> list[pathlib.Path]:
    """Those of the papers, sorted by name. Raises a UserError where there are none."""
    found = sorted(path.parent for path in root.glob(f"*/{PAPER_FILE}"))
    if not found:
        raise UserError(
            f"no paper in {root} (no */{PAPER_FILE}); run in the clone of the repository, or give "
            "--experiments=DIR"
        )
    return found


def read_all(root: pathlib.Path) -> list[Paper]:
    """All papers, sorted by name. Raises a UserError for the first file that is wrong."""
    return [read(directory) for directory in directories(root)]


def read(directory: pathlib.Path) -> Paper:
    """The paper of a directory.

    Raises:
        UserError: If a file cannot be read, a key is unknown, missing or of another type, or a name
            comes twice.
    """
    path = directory / PAPER_FILE
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    _check_keys(str(path), content, {"title": str, "citation": str, "rows": list}, {})
    rows = tuple(_row(f"{path}, row {n}", row) for n, row in enumerate(content["rows"], start=1))
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path} has two rows of the name {twice[0]!r}")
    results = _results(directory / RESULTS_FILE)
    return Paper(directory, content["title"], content["citation"], rows, results)


def select(papers: Iterable[Paper], name: str) -> list[tuple[Paper, Row]]:
    """The rows of "PAPER", or the one of "PAPER/ROW"; "" names all.

    Raises:
        UserError: If there is no such paper or row; it names the nearest.
    """
    by_name = {paper.name: paper for paper in papers}
    if not name:
        return [(paper, row) for paper in by_name.values() for row in paper.rows]
    paper_name, _, row_name = name.partition("/")
    if paper_name not in by_name:
        # Users forget the folder more often than they mistype it.
        rows = [f"{paper.name}/{row.name}" for paper in by_name.values() for row in paper.rows]
        meant = [row for row in rows if row.partition("/")[2] == name]
        raise unknown("paper", name, meant or by_name)
    paper = by_name[paper_name]
    rows = {row.name: row for row in paper.rows}
    if row_name and row_name not in rows:
        raise unknown(f"row of {paper_name}", row_name, rows)
    return [(paper, row) for row in ([rows[row_name]] if row_name else paper.rows)]


def csv_text(results: Iterable[Result]) -> str:
    """The content of `results.csv`."""
    lines = [",".join(Result._fields)]
    lines += [",".join(str(value) for value in result) for result in results]
    return "\n".join(lines) + "\n"


def _row(where: str, content: Any) -> Row:
    if not isinstance(content, dict):
        raise UserError(f"{where} is no table; write [[rows]]")
    if "status" in content:
        raise UserError(f"{where} claims a status, which follows from its runs; delete the key")
    _check_keys(where, content, _REQUIRED, _OPTIONAL)
    seeds = content["seeds"]
    if not _NAME.fullmatch(content["name"]):
        raise UserError(f"{where}: name is {content['name']!r}; use letters, digits and _")
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds are different whole numbers, at least one; got {seeds}")
    if "expected" in content and not content.get("expected_source"):
        raise UserError(f"{where}: expected_source must say where {content['expected']} is stated")
    row = Row(**{**content, "seeds": tuple(seeds)})
    return row if row.expected is None else row._replace(expected=float(row.expected))


def _check_keys(
    where: str,
    content: Mapping[str, Any],
    required: Mapping[str, type],
    optional: Mapping[str, type],
) -> None:
    kinds = {**required, **optional}
    for key, value in content.items():
        if key not in kinds:
            raise unknown(f"key of {where}", key, kinds)
        # TOML tells 1 from 1.0, people do not.
        fits = type(value) in ((int, float) if kinds[key] is float else (kinds[key],))
        if not fits:
            raise UserError(f"{where}: {key} must be a {kinds[key].__name__}, got {value!r}")
    for key in required:
        if key not in content:
            raise UserError(f"{where} lacks {key!r}")


def _results(path: pathlib.Path) -> tuple[Result, ...]:
    if not path.exists():
        return ()
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != list(Result._fields):
        raise UserError(f"the first line of {path} must be {','.join(Result._fields)}")
    found = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            row, seed, value, config_hash, commit, hardware, hours, log = line
            one = Result(
                row, int(seed), float(value), config_hash, commit, hardware, float(hours), log
            )
        except ValueError as error:
            raise UserError(f"line {number} of {path} is damaged: {error}") from error
        found.append(one)
    return tuple(found)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(tuple(value)) if isinstance(value, list) else str(value)
