"""When a run was started, and how each start ended: what a list of runs tells of it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from cnn.errors import UserError
from cnn.report import files

FILE = "sessions.json"


class Session:
    """One start of a run, told how it goes.

    Attributes:
        code: The exit code that is to be recorded; 0 unless set.
        step: How many steps are done.
    """

    def __init__(self) -> None:
        self.code = 0
        self.step = 0


@contextlib.contextmanager
def recorded(workdir: pathlib.Path | None, num_steps: int, started: float) -> Iterator[Session]:
    """Records in the workdir that a start of the run is under way, and behind it how it ended.

    One that is killed leaves no end.

    Args:
        workdir: None records nothing, for processes that do not lead.
        num_steps: Length of the whole run.
        started: `time.time` at the start of the program.

    Raises:
        UserError: If the workdir cannot be written, before anything was done.
    """
    session = Session()
    if workdir is None:
        yield session
        return
    before = read(workdir)
    entry: dict[str, Any] = {
        "started": started,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "num_steps": num_steps,
    }
    _write(workdir, [*before, entry])
    try:
        yield session
    except BaseException as error:
        session.code = _code(error)
        entry["error"] = " ".join(str(error).split()) or type(error).__name__
        raise
    finally:
        entry |= {"ended": time.time(), "code": session.code, "step": session.step}
        # Where the disk is full, that is what the user must hear of, and has.
        with contextlib.suppress(UserError):
            _write(workdir, [*before, entry])


def read(workdir: files.Path) -> list[dict[str, Any]]:
    """The starts of a run, oldest first; none where nothing was recorded.

    Raises:
        UserError: If the record cannot be read.
    """
    content = files.read_json(workdir / FILE)
    return content["sessions"] if content else []


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, UserError) else 1


def _write(workdir: pathlib.Path, sessions: list[dict[str, Any]]) -> None:
    text = json.dumps({"sessions": sessions}, indent=1)
    files.write_atomically(workdir / FILE, text.encode() + b"\n")
