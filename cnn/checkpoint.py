"""Checkpoints: written by orbax in the background, verified when read.

Orbax makes a checkpoint appear whole or not at all. What it does not see is a file that rots or is
cut short later, so each finished checkpoint gets a list of its files' sizes and CRC-32s, and
reading goes back to the checkpoint before when that list does not hold.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from cnn.errors import UserError

_ITEM = "carry"
_FILES = "files.json"


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for the last write.

    Args:
        directory: Made when missing.
        note: Called with one line when a broken checkpoint is passed over.
        keep_last: The newest so many are kept.
        keep_best: And the best so many by `best_metric`; 0 means none.
        best_metric: A name among the metrics given to `save`, for instance `eval/accuracy`.
        best_mode: Whether `max` or `min` of it is best.

    Raises:
        UserError: If the directory cannot be written.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        note: Callable[[str], None],
        *,
        keep_last: int,
        keep_best: int,
        best_metric: str,
        best_mode: Literal["max", "min"],
    ) -> None:
        if keep_last < 1:
            raise UserError(f"checkpoint.keep_last must be at least 1, got {keep_last}")
        self._directory = directory.absolute()
        self._note = note
        self._best_metric = best_metric
        self._best_mode = best_mode
        # Orbax reports every save at the level of warnings and errors that users cannot act on.
        logging.getLogger("absl").setLevel(logging.ERROR)

        def metric(metrics: Mapping[str, float]) -> float:
            return metrics[best_metric]

        best = checkpoint_managers.BestN(
            get_metric_fn=metric,
            reverse=best_mode == "min",
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(keep_last), best]
            ),
            best_fn=metric,
            best_mode=best_mode,
            cleanup_tmp_directories=True,
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
            step: A step that is there already is left as it is.
            carry: Arrays.
            metrics: Measured at this step, or None; only with `best_metric` among them can the
                checkpoint be kept as one of the best.

        Raises:
            UserError: If this or the write before it failed, for instance on a full disk.
        """
        if step in self.steps():
            return
        if metrics is not None and self._best_metric not in metrics:
            raise UserError(
                f"checkpoint.best_metric is {self._best_metric!r}, which is not measured "
                f"(known: {', '.join(sorted(metrics))})"
            )
        args = ocp.args.Composite(**{_ITEM: ocp.args.StandardSave(carry)})
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
        """The step whose `best_metric` is best, or None where none was measured."""
        measured = {}
        for step in self.steps():
            metrics = self._manager.metrics(step)
            if metrics and self._best_metric in metrics:
                measured[step] = metrics[self._best_metric]
        if not measured:
            return None
        choose = max if self._best_mode == "max" else min
        return choose(measured, key=lambda step: (measured[step], -step))

    def restore(self, abstract: PyTree, step: int | None = None) -> tuple[int, PyTree] | None:
        """The newest whole checkpoint, or that of `step`, as (step, carry).

        Args:
            abstract: Shapes, types and shardings of what was saved.
            step: None means the newest; a broken one is reported and the one before it is taken.

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
            problem = self._broken(step)
            if problem:
                raise UserError(f"the checkpoint of step {step} is broken: {problem}")
            return step, self._read(step, abstract)
        for candidate in reversed(steps):
            problem = self._broken(candidate)
            if problem is None:
                try:
                    return candidate, self._read(candidate, abstract)
                except UserError:
                    raise
                except Exception as error:
                    # Whatever the storage layers raise: none of it is a reason to stop here.
                    problem = " ".join(str(error).split())[:200]
            self._note(f"the checkpoint of step {candidate} is broken ({problem}); passing it over")
        if steps:
            raise UserError(
                f"every checkpoint in {self._directory} is broken; delete the directory to start "
                "again"
            )
        return None

    def remove_after(self, step: int) -> None:
        """Deletes the checkpoints that are newer, which were found broken."""
        for newer in [there for there in self.steps() if there > step]:
            self._manager.delete(newer)

    def _read(self, step: int, abstract: PyTree) -> PyTree:
        saved = self._manager.item_metadata(step)[_ITEM]
        if saved is None:
            raise ValueError("its description cannot be read")
        _check_same(_shapes(saved.tree), _shapes(abstract), f"{self._directory}, step {step}")
        args = ocp.args.Composite(**{_ITEM: ocp.args.StandardRestore(abstract)})
        return self._manager.restore(step, args=args)[_ITEM]

    def _list_files(self) -> None:
        if jax.process_index():
            return
        for step in self._directory.iterdir():
            listing = step / _FILES
            if not step.name.isdigit() or listing.exists():
                continue
            files = {
                str(path.relative_to(step)): _digest(path)
                for path in sorted(step.rglob("*"))
                if path.is_file()
            }
            partial = listing.with_suffix(".tmp")
            partial.write_text(json.dumps(files, indent=1))
            os.replace(partial, listing)

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
        except (OSError, ValueError) as error:
            return str(error)
        return None


def _digest(path: pathlib.Path) -> list[int]:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


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
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"cannot write a checkpoint to {directory}: {reason}. Earlier checkpoints are as they were"
    )
