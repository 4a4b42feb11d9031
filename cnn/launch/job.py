"""What is launched, what an engine makes of it, and when a run is started again."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from cnn.errors import UserError
from cnn.report import files
from cnn.report.runs import LAUNCH

RESTART_CODES = (75, 134, 143)
"""Exit codes of `cnn train` after which it goes on when started again: another process was lost,
the first was lost and JAX ended this one, SIGTERM came."""

REMOTE_PYTHON = ".venv/bin/python"
"""What `install_commands` makes in the copy of the clone."""


class Run(NamedTuple):
    """One training.

    Attributes:
        values: What the sweep has set: config key -> value; empty without a sweep.
        workdir: Where it is kept.
        words: The words behind `cnn` but for the workdir: `train`, `--config=...`, overrides.
    """

    values: Mapping[str, str]
    workdir: str
    words: Sequence[str]

    def command(self, python: str, *flags: str, workdir: str | None = None) -> list[str]:
        """The words of the whole command; `workdir` is its name over there, where it has one."""
        kept = f"--workdir={self.workdir if workdir is None else workdir}"
        return [python, "-m", "cnn", *self.words, kept, *flags]


class Job(NamedTuple):
    """What is launched together.

    Attributes:
        name: A letter, then letters, digits, `-`.
        workdir: Of the run, or above those of the sweep.
        runs: One or more.
        max_restarts: How often a run is started again after one of `RESTART_CODES`.
    """

    name: str
    workdir: str
    runs: Sequence[Run]
    max_restarts: int


@runtime_checkable
class Plan(Protocol):
    """What would be submitted: text that says exactly that, and the deed."""

    @property
    def text(self) -> str:
        """Scripts, files and commands, as a user would write them."""
        ...

    def submit(self) -> int:
        """Does it; returns the exit code of the command.

        Raises:
            UserError: If the engine is not here or refuses.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Somewhere to run; its fields are flags of the command."""

    def plan(self, job: Job) -> Plan:
        """What would be submitted; writes nothing.

        Raises:
            UserError: If the engine cannot do that.
        """
        ...


def make_runs(
    workdir: str, words: Sequence[str], points: Sequence[Mapping[str, str]]
) -> tuple[Run, ...]:
    """A run for each point of a sweep, in a directory of its own named after what is set.

    Args:
        workdir: Of the run, where `points` is one that sets nothing; else above them all.
        words: The words behind `cnn` that all share.
        points: Config key -> value.

    Raises:
        UserError: If two points would have the same directory.
    """
    runs = []
    for values in points:
        overrides = [f"--config.{key}={value}" for key, value in values.items()]
        runs.append(Run(values, _below(workdir, values), (*words, *overrides)))
    places = [run.workdir for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise UserError(
                f"two points of the sweep have the same workdir {place}; a value twice?"
            )
    return tuple(runs)


def _below(workdir: str, values: Mapping[str, str]) -> str:
    if not values:
        return workdir
    name = ",".join(f"{key}={re.sub(r'[^A-Za-z0-9._+-]+', '-', v)}" for key, v in values.items())
    return f"{workdir.rstrip('/')}/{name}"


def record(run: Run, engine: str, job: str = "") -> None:
    """Writes into the workdir what was launched, so that `cnn runs` knows runs that wait.

    Args:
        run: Whose workdir is made where it is missing.
        engine: Its name.
        job: What the engine calls it; empty where that says nothing.

    Raises:
        UserError: If it cannot be written.
    """
    content = {
        "engine": engine,
        "job": job,
        "set": dict(run.values),
        "command": list(run.words),
        "launched": time.time(),
    }
    path = pathlib.Path(run.workdir) / LAUNCH
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")


def find_program(name: str, engine: str, fix: str) -> str:
    """The path of a program. Raises a UserError with the `fix` where there is none."""
    found = shutil.which(name)
    if found is None:
        raise UserError(
            f"--on={engine} needs the command {name!r}, which is not here: {fix}; --dry_run prints "
            "what it would be given"
        )
    return found


def check_clone(engine: str, job: Job) -> None:
    """For engines that copy the current directory to other machines.

    Raises:
        UserError: If that is no clone of the repository, or the config is not named from it.
    """
    if not pathlib.Path("pyproject.toml").is_file():
        raise UserError(
            f"--on={engine} copies the current directory to the machines, and it holds no "
            "pyproject.toml; run in the clone of the repository"
        )
    for word in job.runs[0].words:
        key, _, path = word.partition("=")
        if key == "--config" and pathlib.Path(path).is_absolute():
            raise UserError(
                f"--on={engine} copies the current directory to the machines; give the config as a "
                f"path below it, not as {path}"
            )


def quoted(words: Sequence[str]) -> str:
    """Words as a shell reads them back."""
    return shlex.join(words)


def install_commands(extra: str, setup: str) -> list[str]:
    """Shell lines that install the package where the clone was copied to.

    Args:
        extra: Of `pyproject.toml`: `tpu` or `cuda`.
        setup: The user's own lines, which come first; may be empty.
    """
    return [
        *([setup] if setup else []),
        # The images of clouds have an older Python than this needs.
        "python3 -m pip install --quiet --user uv",
        "python3 -m uv venv --quiet --allow-existing --python 3.11 .venv",
        f"python3 -m uv pip install --quiet --python .venv -c requirements.lock -e '.[{extra}]'",
    ]
