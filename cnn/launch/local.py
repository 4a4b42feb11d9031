"""Processes of this machine, which meet on the loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cnn.errors import UserError, unknown
from cnn.launch.job import RESTART_CODES, Job, Run, quoted, record
from cnn.report import files

GRACE_SECONDS = 120.0
"""How long processes may take to end after another of their run has failed."""

_POLL_SECONDS = 0.1
# A mistake, a fault, Ctrl-C: the next start would end alike, or is not wanted.
_FINAL_CODES = (1, 2, 130)


@dataclasses.dataclass(frozen=True)
class Local:
    """N processes on this machine; the runs of a sweep come one after another.

    Attributes:
        processes: Of each run.
        devices: Of each process; 0 leaves it what JAX finds, and is for one process only.
        platform: Of those devices: `cpu` has virtual ones, `cuda` parts this machine's GPUs.
    """

    processes: int = 1
    devices: int = 0
    platform: str = "cpu"

    def plan(self, job: Job) -> LocalPlan:
        """Commands, with the environment and log file of each."""
        if self.processes < 1 or self.devices < 0:
            raise UserError(
                f"--processes must be at least 1 and --devices at least 0, got {self.processes} "
                f"and {self.devices}"
            )
        if self.platform not in ("cpu", "cuda"):
            raise unknown("value of --platform", self.platform, ("cpu", "cuda"))
        if self.processes > 1 and not self.devices:
            raise UserError(f"say how many --devices each of the {self.processes} processes has")
        if "://" in job.workdir:
            raise UserError(f"--on=local keeps runs on this machine, not in {job.workdir}")
        groups = [Group(run, self._processes(run)) for run in job.runs]
        return LocalPlan(tuple(groups), job.max_restarts)

    def _processes(self, run: Run) -> tuple[Process, ...]:
        together = []
        if self.processes > 1:
            address = f"--coordinator_address=127.0.0.1:{_free_port()}"
            together = [address, f"--num_processes={self.processes}"]
        return tuple(
            Process(
                run.command(
                    sys.executable, *together, *([f"--process_id={index}"] if together else [])
                ),
                self._environment(index),
                pathlib.Path(run.workdir) / "logs" / f"{index}.log",
            )
            for index in range(self.processes)
        )

    def _environment(self, index: int) -> dict[str, str]:
        if not self.devices:
            return {}
        if self.platform == "cpu":
            return {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(self.devices)}
        own = range(index * self.devices, (index + 1) * self.devices)
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, own))}


class Process(NamedTuple):
    """A command, what it finds in its environment besides, and the file that it writes to."""

    words: Sequence[str]
    environment: Mapping[str, str]
    log: pathlib.Path

    @property
    def text(self) -> str:
        """As a shell would start it."""
        settings = "".join(f"{name}={value} " for name, value in self.environment.items())
        return f"{settings}{quoted(self.words)} >> {quoted([str(self.log)])} 2>&1"

    def start(self) -> subprocess.Popen[bytes]:
        """Starts it out of reach of this terminal's Ctrl-C, which is passed on instead."""
        with files.writing(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                return subprocess.Popen(
                    self.words,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )


class Group(NamedTuple):
    """A run and its processes."""

    run: Run
    processes: Sequence[Process]


@dataclasses.dataclass(frozen=True)
class LocalPlan:
    """Runs to be done one after another."""

    groups: Sequence[Group]
    max_restarts: int

    @property
    def text(self) -> str:
        """One command a line; those of one run end in `&`, but for the last."""
        return "".join(
            " &\n".join(process.text for process in group.processes) + "\n" for group in self.groups
        )

    def submit(self) -> int:
        """Trains all; the exit code is that of the first run that failed, or 0."""
        for group in self.groups:
            record(group.run, "local")
        codes = []
        with _Passing().listening() as passing:
            for group in self.groups:
                codes.append(_train(group, self.max_restarts, passing))
                if passing.signal is not None:
                    break
        return next((code for code in codes if code), 0)


class _Passing:
    """Passes SIGTERM and SIGINT on to the processes that are under way."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.processes: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def listening(self) -> Iterator[_Passing]:
        """Takes over both signals for the time of the context."""
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: types.FrameType | None) -> None:
        self.signal = number
        for process in self.processes:
            process.send_signal(number)


def _train(group: Group, max_restarts: int, passing: _Passing) -> int:
    """One run to its end, started again while that helps."""
    logs = ", ".join(str(process.log) for process in group.processes)
    _say(f"{group.run.workdir}: {len(group.processes)} processes, logs {logs}")
    code = exit_code(_session(group.processes, passing))
    for restart in range(1, max_restarts + 1):
        if code not in RESTART_CODES or passing.signal is not None:
            break
        _say(f"{group.run.workdir}: ended with {code}, restart {restart} of {max_restarts}")
        code = exit_code(_session(group.processes, passing))
    _say(f"{group.run.workdir}: {'done' if code == 0 else f'ended with {code}, see {logs}'}")
    return code


def _session(processes: Sequence[Process], passing: _Passing) -> list[int]:
    """Starts the processes of a run; their exit codes when all have ended."""
    started = passing.processes = [process.start() for process in processes]
    if passing.signal is not None:
        # It came when some had not been started.
        for process in started:
            process.send_signal(passing.signal)
    failed_at = None
    # Each is asked every time, or one that has failed would go unnoticed.
    while None in (codes := [process.poll() for process in started]):
        if failed_at is None and any(codes):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > GRACE_SECONDS:
            # Those that wait for one which never came, for instance.
            for process in started:
                process.kill()
        time.sleep(_POLL_SECONDS)
    passing.processes = []
    return [process.returncode for process in started]


def exit_code(codes: Sequence[int]) -> int:
    """What the processes of a run say together, as a shell would: 128 + n for signal n.

    Args:
        codes: Of each process; negative for one that a signal ended.
    """
    shown = [128 - code if code < 0 else code for code in codes]
    for wanted in (_FINAL_CODES, RESTART_CODES):
        found = [code for code in shown if code in wanted]
        if found:
            return found[0]
    return max(shown)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
