"""Several processes as one run: how they find each other, and what they do when one is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from jax._src import distributed

from cnn.errors import UserError

LOST = 75
"""Exit code where another process was lost (EX_TEMPFAIL): start the same command again."""

TIMEOUT_SECONDS = 20.0
"""A process that gives no sign of life for so long is lost."""

_BEAT_SECONDS = 2.0
# JAX's own watch ends a process without a word on who was lost, so it is to be the slower one.
_JAX_TIMEOUT_SECONDS = 50
# What JAX says where it finds none, and where a program has used its devices already.
_NO_CLUSTER = ("coordinator_address should be defined", "must be called before")
_ALONE = {"SLURM_NTASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}


def connect(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes of the run; nothing where this is the only one.

    Call it before any device is used. What is None is found by JAX on Slurm, Cloud TPU, GKE and
    Open MPI.

    Args:
        coordinator_address: HOST:PORT of process 0, which listens there.
        num_processes: How many processes; 1 looks for no others.
        process_id: Which of them this is, from 0.

    Raises:
        UserError: If some are given and the others not found, or the processes do not meet.
    """
    given = [coordinator_address, num_processes, process_id]
    alone = given == [None] * 3 and any(os.environ.get(k) == v for k, v in _ALONE.items())
    if num_processes == 1 or alone:
        return
    try:
        with warnings.catch_warnings():
            # About clusters that JAX could know if more were installed.
            warnings.simplefilter("ignore")
            jax.distributed.initialize(
                coordinator_address,
                num_processes,
                process_id,
                heartbeat_timeout_seconds=_JAX_TIMEOUT_SECONDS,
                cluster_detection_method=None if None in given else "deactivate",
            )
    except (ValueError, RuntimeError, TypeError) as error:
        if given == [None] * 3 and any(reason in str(error) for reason in _NO_CLUSTER):
            return
        raise UserError(
            f"cannot join the other processes: {' '.join(str(error).split())[:200]}; give "
            "--coordinator_address=HOST:PORT, --num_processes and --process_id to each, or "
            "--num_processes=1 to train alone"
        ) from error


def leads() -> bool:
    """Whether this process writes logs, reports and the screen: one of all does."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """While inside, a process that is lost ends this one, with a message that names it.

    An error that leaves the context ends the process at once, as JAX would wait for the others
    first, and they for this one.
    """
    if jax.process_count() == 1:
        yield
        return
    watch = _Watch()
    try:
        yield
    except UserError as error:
        watch.leave(f"error: {error}", 2)
    except KeyboardInterrupt:
        watch.leave("interrupted", 130)
    except Exception:
        traceback.print_exc()
        # Another process may be the reason: then the watch says so before long.
        watch.wait()
        watch.leave(f"error: process {jax.process_index()} failed, see above", 1)
    finally:
        watch.close()


class _Watch:
    """Signs of life of all processes, on the board that process 0 keeps for JAX."""

    def __init__(self) -> None:
        self._board: Any = distributed.global_state.client
        self._own = jax.process_index()
        self._board.key_value_set(f"cnn/host/{self._own}", socket.gethostname())
        self._hosts = {
            i: self._board.blocking_key_value_get(f"cnn/host/{i}", int(TIMEOUT_SECONDS * 1000))
            for i in range(jax.process_count())
        }
        self._closed = threading.Event()
        self._heir = self._make_heir() if self._own else None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def _make_heir(self) -> subprocess.Popen[bytes]:
        """A shell that speaks when this process ends without a word.

        So JAX ends it, in the same instant, where process 0 is lost.
        """
        text = (
            f"cnn: error: process {self._own} on host {self._hosts[self._own]} ended without a word"
            f" of its own; where JAX says that the leader is lost, that is process 0 on host "
            f"{self._hosts[0]}: start all processes again"
        )
        script = 'read -r word || echo "$0" >&2'
        return subprocess.Popen(
            ["sh", "-c", script, text], stdin=subprocess.PIPE, start_new_session=True
        )

    def _run(self) -> None:
        seen: dict[str, tuple[str, float]] = {}
        answered = time.monotonic()
        beat = 0
        while not self._closed.wait(_BEAT_SECONDS):
            now = time.monotonic()
            beat += 1
            try:
                self._board.key_value_set(f"cnn/alive/{self._own}", str(beat), allow_overwrite=True)
                beats = dict(self._board.key_value_dir_get("cnn/alive/"))
                answered = time.monotonic()
            except Exception:
                if now - answered > TIMEOUT_SECONDS:
                    self._lost(0)
                continue
            for key, value in beats.items():
                if seen.get(key, ("", 0.0))[0] != value:
                    seen[key] = (value, now)
                elif now - seen[key][1] > TIMEOUT_SECONDS:
                    self._lost(int(key.rpartition("/")[2]))

    def _lost(self, process: int) -> NoReturn:
        self.leave(
            f"error: process {process} on host {self._hosts[process]} gave no sign of life for "
            f"{TIMEOUT_SECONDS:.0f} s; the newest checkpoint is whole, start all processes again",
            LOST,
        )

    def wait(self) -> None:
        """Returns when the watch would have found a lost process."""
        self._thread.join(TIMEOUT_SECONDS + 2 * _BEAT_SECONDS)

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        if self._heir is not None:
            self._heir.communicate(b"done\n")

    def leave(self, text: str, code: int) -> NoReturn:
        """Ends the process with a message, and without the clean-up that waits for all."""
        self.close()
        # One write, since several processes may share a screen.
        sys.stderr.write(f"cnn: {text}\n")
        sys.stderr.flush()
        os._exit(code)
