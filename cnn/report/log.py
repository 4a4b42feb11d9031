"""The metric log of a run: one JSON line a write, and the same scalars for TensorBoard."""

from __future__ import annotations

import json
import pathlib
import socket
import struct
import time
import types
from collections.abc import Mapping
from typing import Any, SupportsFloat

from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from cnn.errors import UserError
from cnn.report import files

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_DIR = "tensorboard"

# The messages come into being at import, where no type checker sees them.
_EVENTS: Any = event_pb2
_SUMMARIES: Any = summary_pb2


class MetricLog:
    """Appends to `workdir/metrics.jsonl` and `workdir/tensorboard/`; a context manager.

    A line is one JSON object, `{"step": 120, "train/loss": 0.23, ..., "perf/seconds": 1.9}`: the
    values by name, then the timing under `perf/`. Floats are written in full, so two equal
    runs give equal lines but for `perf/`. NaN and the infinities are the strings "NaN",
    "Infinity", "-Infinity", which keep the line valid JSON; `read_metrics` turns them back.

    Every write is flushed before it returns. For a resumed run to have the lines of an unbroken
    one, write the lines up to step n before the checkpoint of step n is saved. In a job of several
    processes only one may hold the log.
    """

    def __init__(self, workdir: str | pathlib.Path, *, resume_step: int = 0) -> None:
        """Opens the log, dropping first what a killed run wrote after its checkpoint.

        Args:
            workdir: The directory of the run; made if missing.
            resume_step: The step of the checkpoint that the run goes on from: lines of later steps
                and a half-written last line are dropped, and hidden from TensorBoard. 0 starts
                anew and drops every line.

        Raises:
            UserError: If the directory cannot be written, or the log to go on with is damaged.
        """
        workdir = pathlib.Path(workdir)
        self._path = workdir / METRICS_FILE
        board = workdir / TENSORBOARD_DIR
        with files.writing(board):
            board.mkdir(parents=True, exist_ok=True)
        if resume_step:
            _drop_after(self._path, resume_step)
        with files.writing(self._path):
            self._file = self._path.open("ab" if resume_step else "wb")
        # A restart within a second must not overwrite the events of the run it goes on from, hence
        # the resume step in the name.
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{resume_step}"
        self._board_path = board / name
        with files.writing(self._board_path):
            # Not tensorboardX.SummaryWriter: its thread dies unheard of on a full disk, after which
            # its queue fills up and the training hangs. Not its RecordWriter: it syncs the disk on
            # every flush, 4 ms a line here and far more on a network.
            self._board = self._board_path.open("wb")
            self._write_event(_EVENTS.Event(wall_time=now, file_version="brain.Event:2"))
            # TensorBoard hides the events at and after the step of a START.
            purge_step = resume_step + 1 if resume_step else 0
            start = _EVENTS.SessionLog(status=_EVENTS.SessionLog.START)
            self._write_event(_EVENTS.Event(wall_time=now, step=purge_step, session_log=start))

    def write(
        self,
        step: int,
        values: Mapping[str, SupportsFloat],
        *,
        timing: Mapping[str, SupportsFloat] | None = None,
    ) -> None:
        """Appends one line, and the same scalars for TensorBoard.

        Args:
            step: The number of updates done.
            values: Scalars by name, such as "train/loss"; the same in two equal runs.
            timing: What differs between equal runs, written as "perf/<name>". The report reads
                "images_per_second", "data_wait" (a share of the time) and "seconds": those since
                the timing written before.

        Raises:
            UserError: If the disk is full or the file has become unwritable.
        """
        scalars = {name: float(values[name]) for name in sorted(values)}
        scalars |= {f"perf/{name}": float(value) for name, value in sorted((timing or {}).items())}
        encoded = {name: files.encode_float(value) for name, value in scalars.items()}
        line = json.dumps({"step": int(step), **encoded}, allow_nan=False)
        with files.writing(self._path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        summary = _SUMMARIES.Summary()
        for name, value in scalars.items():
            summary.value.add(tag=name, simple_value=value)
        with files.writing(self._board_path):
            self._write_event(_EVENTS.Event(wall_time=time.time(), step=int(step), summary=summary))

    def close(self) -> None:
        """Closes the files; the lines are on disk since they were written.

        Raises:
            UserError: If the end of a file cannot be written.
        """
        try:
            with files.writing(self._path):
                self._file.close()
        finally:
            with files.writing(self._board_path):
                self._board.close()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        try:
            self.close()
        except UserError:
            # What went wrong first is what the user must hear of.
            if error is None:
                raise

    def _write_event(self, event: Any) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        # A TFRecord: length, its checksum, content, its checksum.
        self._board.write(length + _checksum(length) + content + _checksum(content))
        self._board.flush()


def read_metrics(workdir: str | files.Path) -> list[dict[str, Any]]:
    """The lines of the metric log, in order: `step` an int, everything else a float.

    A half-written last line is left out. A run without a log has no lines.

    Raises:
        UserError: If another line is damaged, or the file cannot be read.
    """
    path = (pathlib.Path(workdir) if isinstance(workdir, str) else workdir) / METRICS_FILE
    records = [record for _, record in _parse(path)]
    return [
        {
            name: value if name == "step" else files.decode_float(value)
            for name, value in record.items()
        }
        for record in records
    ]


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))


def _drop_after(path: pathlib.Path, step: int) -> None:
    """Keeps the whole lines of steps up to `step`, byte for byte."""
    kept = [line for line, record in _parse(path) if record["step"] <= step]
    files.write_atomically(path, b"".join(line + b"\n" for line in kept))


def _parse(path: files.Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each whole line with its object."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["step"], int):
                raise TypeError("step is no integer")
        except (ValueError, TypeError, KeyError) as error:
            # After the last newline there is nothing, or what a killed run had begun to write.
            if number == len(lines):
                break
            raise UserError(
                f"line {number} of {path} is damaged ({error}); delete that line"
            ) from error
        parsed.append((line, record))
    return parsed
