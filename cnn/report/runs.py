"""The runs below a directory, here or in a bucket: what became of each, from what it left there."""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from cnn.errors import UserError
from cnn.report import files, sessions
from cnn.report.history import Records, last_step
from cnn.report.log import METRICS_FILE, read_metrics

LAUNCH = "launch.json"
"""What `cnn launch` leaves in a workdir whose run may not have begun."""

SILENT_SECONDS = 1800.0
"""A run of another machine that has given no sign for so long is not called running."""

STATES = {
    "waiting": "launched, and nothing of it has begun",
    "running": "started, not ended; its process is there, or gave a sign within half an hour",
    "finished": "trained, examined and reported",
    "preempted": "stopped by SIGTERM with its state saved: goes on when started again",
    "interrupted": "stopped by Ctrl-C with its state saved",
    "failed": "ended by a mistake or a fault",
    "killed": "started, and its process is gone without a word: out of memory, SIGKILL, a lost one",
    "silent": "started, not ended, on another machine, and no sign for half an hour",
    "unknown": "of a version that did not record how it ended",
    "unreadable": "some file of it cannot be read",
}
"""What became of a run."""

_BY_CODE = {0: "finished", 130: "interrupted", 143: "preempted"}


class Row(NamedTuple):
    """A run.

    Attributes:
        run: Its workdir, below the directory that was asked for.
        state: One of `STATES`.
        step: How many steps are done, as far as it is recorded.
        num_steps: Of the whole run; None where it is not recorded.
        metric: What `value` is: `checkpoint.best_metric`, else `train/loss`; empty before a line.
        value: The last; None before a line.
        goodput: `useful_seconds` by `elapsed_seconds`; None where one is not known.
        useful_seconds: The time that the steps of the run take, without those that were lost and
            done again, compiling, evaluating, saving, waiting for data.
        elapsed_seconds: From the first start to now or the last sign; queues between starts count.
        starts: How often it was started.
        started: The first start, seconds since 1970; None where it is not recorded.
        error: What ended it, if that was an error.
    """

    run: str
    state: str
    step: int = 0
    num_steps: int | None = None
    metric: str = ""
    value: float | None = None
    goodput: float | None = None
    useful_seconds: float | None = None
    elapsed_seconds: float | None = None
    starts: int = 0
    started: float | None = None
    error: str = ""


def listed(directory: str) -> list[Row]:
    """The runs in a directory or below it, the one that was started last first.

    Args:
        directory: A path, or `gs://BUCKET/PATH` with the extra `gcs`.

    Raises:
        UserError: If it is no directory, or a bucket cannot be reached.
    """
    try:
        top = epath.Path(directory)
        if not top.is_dir():
            raise UserError(f"no directory {directory}")
        rows = [_row(folder, _name(folder, top)) for folder in _folders(top)]
    except ImportError as error:
        raise UserError(
            f"cannot read {directory}: {error}; pip install -e '.[gcs]', or name a mounted path"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {directory}: {error}") from error
    return [row for _, row in sorted(rows, key=lambda found: (-found[0], found[1].run))]


def _folders(folder: epath.Path) -> Iterator[epath.Path]:
    """Workdirs, in which no others are looked for."""
    found = sorted(folder.iterdir())
    if {"config.json", LAUNCH} & {path.name for path in found}:
        yield folder
        return
    for path in found:
        if path.is_dir():
            yield from _folders(path)


def _name(folder: epath.Path, top: epath.Path) -> str:
    return str(folder.relative_to(top)) if folder != top else folder.name or str(folder)


def _row(folder: epath.Path, name: str) -> tuple[float, Row]:
    """When it was last started, or launched, and its row."""
    try:
        config = files.read_json(folder / "config.json")
        launch = files.read_json(folder / LAUNCH)
        if config is None:
            return (launch or {}).get("launched", 0.0), Row(name, "waiting")
        starts = sessions.read(folder) or _older(folder)
        records = read_metrics(folder)
        last = starts[-1] if starts else {}
        sign = _last_sign(folder, last)
        state = _state(folder, last, sign, records)
        row = Row(name, state, num_steps=last.get("num_steps"), starts=len(starts))
        row = _measured(row, config, records)
        row = row._replace(
            step=max(row.step, last.get("step", 0)),
            error=last.get("error", ""),
        )
        return last.get("started", 0.0), _timed(row, starts, sign)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        return 0.0, Row(name, "unreadable", error=str(error))


def _older(folder: epath.Path) -> list[dict[str, Any]]:
    """The starts of a run of a version that recorded no ends."""
    first = files.read_json(folder / "environment.json")
    if first is None:
        return []
    texts = [first["started"], *(again["started"] for again in first.get("resumed", []))]
    return [{"started": datetime.datetime.fromisoformat(text).timestamp()} for text in texts]


def _last_sign(folder: epath.Path, last: Mapping[str, Any]) -> float | None:
    """When the run last said something."""
    signs = [time_ for time_ in (last.get("started"), last.get("ended")) if time_ is not None]
    log = folder / METRICS_FILE
    if "ended" not in last and log.exists():
        signs.append(float(log.stat().mtime))
    return max(signs, default=None)


def _state(
    folder: epath.Path, last: Mapping[str, Any], sign: float | None, records: Records
) -> str:
    if "code" in last:
        return _BY_CODE.get(last["code"], "failed")
    if "pid" not in last:
        evaluation = files.read_json(folder / "evaluation.json")
        whole = evaluation is not None and evaluation["step"] == last_step(records)
        return "finished" if whole else "unknown"
    if last["host"] == socket.gethostname():
        return "running" if _is_there(last["pid"]) else "killed"
    assert sign is not None
    return "running" if time.time() - sign < SILENT_SECONDS else "silent"


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _measured(row: Row, config: Mapping[str, Any], records: Records) -> Row:
    """The row with step, last metric and useful time."""
    for metric in (config["checkpoint"]["best_metric"], "train/loss"):
        values = [record[metric] for record in records if metric in record]
        if values:
            row = row._replace(metric=metric, value=values[-1])
            break
    useful = useful_seconds(records, config["loader"]["batch_size"])
    return row._replace(step=last_step(records), useful_seconds=useful)


def useful_seconds(records: Records, batch_size: int) -> float | None:
    """The time in which devices did steps that count; None before the speed of one is known.

    A line tells the speed of the steps since the line before, or since the restart between; it
    stands for all of them. The first step of a start compiles and is in no speed.

    Args:
        records: Lines as `read_metrics` gives them.
        batch_size: Examples of a step.
    """
    total, before = None, 0
    for record in records:
        speed = record.get("perf/images_per_second")
        if speed:
            seconds = (record["step"] - before) * batch_size / speed
            total = (total or 0.0) + seconds * (1.0 - record.get("perf/data_wait", 0.0))
            before = record["step"]
    return total


def _timed(row: Row, starts: Sequence[Mapping[str, Any]], sign: float | None) -> Row:
    """The row with when it was started, the time since, and goodput."""
    if not starts or sign is None:
        return row
    began = starts[0]["started"]
    elapsed = (time.time() if row.state == "running" else sign) - began
    known = row.useful_seconds is not None and elapsed > 0
    return row._replace(
        started=began,
        elapsed_seconds=elapsed,
        goodput=row.useful_seconds / elapsed if known else None,
    )
