"""Files that are whole or absent, and numbers in them that JSON has no word for."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from etils import epath

from cnn.errors import UserError

Path = pathlib.Path | epath.Path
"""A path to read from, of this machine or of a bucket."""


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a full disk or a directory without permission into one line for the user.

    Raises:
        UserError: Where the body raises an `OSError`; it names `path` and the system's reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {reason}; free some space there or choose another workdir"
        ) from error


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Replaces the file in one step: a reader, or a run killed here, sees the old or the new.

    Raises:
        UserError: If it cannot be written; the old file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                # Without it, a power cut after the replace can leave a file of the right name
                # and no bytes.
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def encode_float(value: float) -> float | str:
    """The number itself, or "NaN", "Infinity", "-Infinity": strings, since JSON lacks the numbers.

    `float()` in Python and `Number()` in JavaScript read these three back.
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def decode_float(value: float | str) -> float:
    """The inverse of `encode_float`."""
    return float(value)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no such file.

    Raises:
        UserError: If the file cannot be read or holds no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; delete or restore it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content
