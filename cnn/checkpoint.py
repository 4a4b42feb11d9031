"""Checkpoints: written by orbax in the background, verified when read.

Orbax makes a checkpoint appear whole or not at all. What it does not see is a file that rots or is
cut short later, so each checkpoint appears with a list of its files' sizes and CRC-32s, and reading
goes back to the checkpoint before when that list does not hold.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from cnn.errors import UserError, unknown

_ITEM = "carry"
_FILES = "files.json"
# Orbax writes into a directory of this name, changes this file last, and renames the directory.
_HALF_WRITTEN = ".orbax-checkpoint-tmp"
_CHANGED_LAST = "_CHECKPOINT_METADATA"


class _LastAndBest(NamedTuple):
    """Which checkpoints orbax keeps: its own `BestN` trips over NaN and over a damaged file."""

    keep_last: int
    keep_best: int
    rank: Callable[[Sequence[int]], list[int]]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """One answer for each checkpoint, which come oldest first."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self.keep_last :], *self.rank(steps)[: self.keep_best]}
        return [step in kept for step in steps]


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for the last write.

    Args:
        directory: Made when missing.
        note: Called with one line when a broken checkpoint is passed over.
        keep_last: The newest so many are kept.
        keep_best: And the best so many by `best_metric`; 0 means none. Of equals the newer is
            better; NaN is never among the best.
        best_metric: A name among the metrics given to `save`, for instance `eval/accuracy`.
        best_mode: Whether `max` or `min` of it is best.

    Raises:
        UserError: If the directory cannot be written, or for a number or mode that cannot be.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        note: Callable[[str], None],
        *,
        keep_last: int,
        keep_best: int,
        best_metric: str,
        best_mode: str,
    ) -> None:
        if keep_last < 1:
            raise UserError(f"checkpoint.keep_last must be at least 1, got {keep_last}")
        if keep_best < 0:
            raise UserError(f"checkpoint.keep_best must be at least 0, got {keep_best}")
        if best_mode not in ("max", "min"):
            raise unknown("value of checkpoint.best_mode", best_mode, ("max", "min"))
        self._directory = directory.absolute()
        self._note = note
        self._best_metric = best_metric
        self._best_mode = best_mode
        # What orbax logs, a traceback at a full disk included, is raised and told in one line here.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LastAndBest(keep_last, keep_best, self._rank),
            best_fn=lambda metrics: metrics[best_metric],
            # Whoever only reads must not open every file, nor remove what a run is writing.
            lightweight_initialize=True,
            cleanup_tmp_directories=False,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._list_files),
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Named handlers, or a reopened manager could not describe what it holds.
            self._manager = ocp.CheckpointManager(
                self._directory,
                options=options,
                item_handlers={_ITEM: ocp.StandardCheckpointHandler()},
            )
        except OSError as error:
            raise _unwritable(self._directory, error) from error
        self._measured: dict[int, float] = {}
        for step in self.steps():
            self._measure(step, self._saved_metrics(step))

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
        except UserError:
            if kind is None:
                raise
        finally:
            self._manager.close()

    def save(self, step: int, carry: PyTree, metrics: Mapping[str, float] | None) -> None:
        """Starts to write `carry`; returns when its values are copied.

        Args:
            step: A step that is there already is left as it is; else newer than all that are.
            carry: Arrays.
            metrics: Measured at this step, or None; only with `best_metric` among them can the
                checkpoint be kept as one of the best.

        Raises:
            UserError: If this or the write before it failed, for instance on a full disk.
            ValueError: If a newer step is there, which orbax would take for a reason to do nothing.
        """
        steps = self.steps()
        if step in steps:
            return
        if steps and step < steps[-1]:
            raise ValueError(f"step {step} is older than the checkpoint of step {steps[-1]}")
        if metrics is not None and self._best_metric not in metrics:
            raise UserError(
                f"checkpoint.best_metric is {self._best_metric!r}, which is not measured "
                f"(known: {', '.join(sorted(metrics))})"
            )
        self._check_space(carry)
        args = ocp.args.Composite(**{_ITEM: ocp.args.StandardSave(carry)})
        self._measure(step, metrics)
        try:
            self._manager.save(step, args=args, metrics=dict(metrics) if metrics else None)
        except Exception as error:
            raise _unwritable(self._directory, error) from error

    def wait(self) -> None:
        """Returns when everything is on disk; a UserError where it could not be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise _unwritable(self._directory, error) from error

    def steps(self) -> list[int]:
        """The steps that are there, oldest first."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step whose `best_metric` is best, the newest of equals; None where none has it."""
        ranked = self._rank(self.steps())
        return ranked[0] if ranked else None

    def restore(
        self, abstract: PyTree | None, step: int | None = None
    ) -> tuple[int, PyTree] | None:
        """The newest whole checkpoint, or that of `step`, as (step, carry).

        Args:
            abstract: Shapes, types and shardings of what was saved; None reads whatever it is, as
                NumPy arrays in dicts and lists.
            step: None means the newest; one that is broken or half-written is reported and the one
                before it is taken.

        Returns:
            None where there is no checkpoint at all.

        Raises:
            UserError: If the step is not there, is broken, holds another model, or all are broken.
        """
        steps = self.steps()
        if step is not None:
            if step not in steps:
                raise UserError(
                    f"no checkpoint of step {step} in {self._directory} (known: "
                    f"{', '.join(map(str, steps)) or 'none'})"
                )
            found, problem = self._try(step, abstract)
            if problem:
                raise UserError(
                    f"the checkpoint of step {step} is broken: {problem} (known: "
                    f"{', '.join(map(str, steps))})"
                )
            return step, found
        for unfinished in self._half_written():
            if not steps or unfinished > steps[-1]:
                self._note(f"the checkpoint of step {unfinished} is half-written; passing it over")
        for candidate in reversed(steps):
            found, problem = self._try(candidate, abstract)
            if problem is None:
                return candidate, found
            self._note(f"the checkpoint of step {candidate} is broken ({problem}); passing it over")
        if steps:
            raise UserError(
                f"every checkpoint in {self._directory} is broken; delete the directory to start "
                "again"
            )
        return None

    def remove_after(self, step: int) -> None:
        """Deletes the checkpoints that are newer, which were found broken, and half-written ones.

        Only for the run that writes: what is half-written may be another's work.
        """
        try:
            for newer in [there for there in self.steps() if there > step]:
                self._manager.delete(newer)
            if not jax.process_index():
                for unfinished in self._half_written().values():
                    shutil.rmtree(unfinished)
        except OSError as error:
            raise _unwritable(self._directory, error) from error

    def _check_space(self, carry: PyTree) -> None:
        """Refuses what cannot fit, since half a write ends in many errors from many threads."""
        needed = sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(carry)
            for shard in getattr(leaf, "addressable_shards", ())
            if shard.replica_id == 0
        )
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise UserError(
                f"cannot write a checkpoint to {self._directory}: it takes {needed:,} bytes and "
                f"{free:,} are free. Earlier checkpoints are as they were"
            )

    def _rank(self, steps: Sequence[int]) -> list[int]:
        """Those of the steps that were measured, the best first."""
        sign = 1 if self._best_mode == "max" else -1
        measured = [step for step in steps if step in self._measured]
        return sorted(measured, key=lambda step: (sign * self._measured[step], step), reverse=True)

    def _measure(self, step: int, metrics: Mapping[str, float] | None) -> None:
        value = (metrics or {}).get(self._best_metric, math.nan)
        if not math.isnan(value):
            self._measured[step] = value

    def _saved_metrics(self, step: int) -> Mapping[str, float] | None:
        try:
            metrics = self._manager.metrics(step)
            return metrics and {name: float(value) for name, value in metrics.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            # Its checkpoint is broken, which is said when that is read.
            return None

    def _half_written(self) -> dict[int, pathlib.Path]:
        found = {}
        for path in self._directory.glob(f"*{_HALF_WRITTEN}*"):
            step = path.name.partition(_HALF_WRITTEN)[0]
            if step.isdigit():
                found[int(step)] = path
        return dict(sorted(found.items()))

    def _try(self, step: int, abstract: PyTree | None) -> tuple[PyTree, str | None]:
        """The carry of a checkpoint, or what is wrong with it."""
        problem = self._verdict(step)
        if problem:
            return None, problem
        try:
            return self._read(step, abstract), None
        except UserError:
            raise
        except Exception as error:
            # Whatever the storage layers raise: none of it is a reason to stop here.
            return None, " ".join(str(error).split())[:200] or type(error).__name__

    def _read(self, step: int, abstract: PyTree | None) -> PyTree:
        saved = self._manager.item_metadata(step)[_ITEM]
        if saved is None:
            raise ValueError("its description cannot be read")
        if abstract is None:
            abstract = jax.tree.map(_blank, saved.tree, is_leaf=lambda x: hasattr(x, "shape"))
        _check_same(_shapes(saved.tree), _shapes(abstract), f"{self._directory}, step {step}")
        args = ocp.args.Composite(**{_ITEM: ocp.args.StandardRestore(abstract)})
        try:
            return self._manager.restore(step, args=args)[_ITEM]
        except ValueError as error:
            if not (self._directory / str(step) / _FILES).exists():
                raise
            # The files were just found to be as they were written, so it is not they.
            raise UserError(
                f"the checkpoint of step {step} in {self._directory} is whole and has the same "
                "arrays, but in other places: it is of another optimizer or configuration, or of "
                "another version of cnn. Go on with the one it was made with, or use another "
                "--workdir"
            ) from error

    def _list_files(self) -> None:
        # Called just before a directory gets its final name: it must never be seen without a list.
        for directory in self._half_written().values():
            files = {
                str(path.relative_to(directory)): _digest(path)
                for path in sorted(directory.rglob("*"))
                if path.is_file() and path.name not in (_CHANGED_LAST, _FILES)
            }
            (directory / _FILES).write_text(json.dumps(files, indent=1))

    def _verdict(self, step: int) -> str | None:
        """As `_broken`; of several processes the first reads the files, and all go by it."""
        problem = self._broken(step) if jax.process_index() == 0 else None
        if jax.process_count() > 1:
            broken = multihost_utils.broadcast_one_to_all(np.asarray(problem is not None))
            return (problem or "process 0 found it so") if broken else None
        return problem

    def _broken(self, step: int) -> str | None:
        """What is wrong with a checkpoint's files; None if nothing, or if never listed."""
        directory = self._directory / str(step)
        listing = directory / _FILES
        if not listing.exists():
            return None
        try:
            for name, (size, crc) in json.loads(listing.read_text()).items():
                if not (directory / name).exists():
                    return f"{name} is missing"
                found_size, found_crc = _digest(directory / name)
                if found_size != size:
                    return f"{name} has {found_size} bytes of {size}"
                if found_crc != crc:
                    return f"the content of {name} has changed"
        except (OSError, ValueError, TypeError, AttributeError) as error:
            return f"{_FILES} cannot be read: {error}"
        return None


def _digest(path: pathlib.Path) -> list[int]:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


def _blank(leaf: Any) -> np.ndarray:
    """An array of that shape and type without memory of its own."""
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Shape by path; fields of records and keys of dicts are written alike, as orbax does."""

    def name(key: Any) -> str:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                return str(getattr(key, attribute))
        return str(key)

    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))[0]
    return {"/".join(map(name, path)): tuple(leaf.shape) for path, leaf in leaves}


def _check_same(
    saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], where: str
) -> None:
    if saved == wanted:
        return
    differ = [
        f"{path}: saved {saved.get(path, 'nothing')}, wanted {wanted.get(path, 'nothing')}"
        for path in sorted(
            saved.keys() | wanted.keys(), key=lambda path: ("params" not in path, path)
        )
        if saved.get(path) != wanted.get(path)
    ]
    raise UserError(
        f"the checkpoint in {where} is of another model or optimizer; {len(differ)} arrays differ, "
        f"first {'; '.join(differ[:3])}. Use another --workdir"
    )


def _unwritable(directory: pathlib.Path, error: Exception) -> UserError:
    # TensorStore says the operating system's reason last, after several paths.
    code = re.search(r"os_error_code='(\d+)'", str(error))
    reason = os.strerror(int(code[1])) if code else getattr(error, "strerror", None)
    shown = reason or " ".join(str(error).split())[:300]
    return UserError(
        f"cannot write a checkpoint to {directory}: {shown}. Earlier checkpoints are as they were"
    )
