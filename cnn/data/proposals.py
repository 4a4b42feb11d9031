"""Proposals: boxes that may hold an object, found ahead of training and read from a file.

A file is COCO's form of results without a category, a JSON list of

    {"image_id": 42, "bbox": [x, y, width, height], "score": 0.9}

with boxes in pixels of the stored picture, (0, 0) being its upper left corner; or an .npz of the
columns `image_id` [boxes], `bbox` [boxes, 4] and `score` [boxes], in an eighth of the space. A
picture is named as its source does (`cnn.data.contract.ids_of`). Boxes are cut at the picture's
edges; those of which nothing is left are none.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from cnn.data.contract import Derived, Example, Source, Sources, ids_of
from cnn.errors import UserError

Boxes = Float[np.ndarray, "boxes 4"]

COVERED_IOU = 0.5
"""From which overlap with a proposal on an object counts as covered."""


class Scored(NamedTuple):
    """Boxes of a picture, (y0, x0, y1, x1) in its pixels, and how likely each holds an object."""

    boxes: Boxes
    scores: Float[np.ndarray, " boxes"]


class Proposed(Derived):
    """A source whose examples have `proposals`, the surest first."""

    def __init__(self, source: Source, found: Mapping[str, Boxes]) -> None:
        super().__init__(source)
        self._found = found
        self._ids = ids_of(source)

    def __getitem__(self, index: int, /) -> Example:
        example = self._source[index]
        boxes = self._found.get(self._ids[index], np.zeros((0, 4), np.float32))
        return {**example, "proposals": as_shares(boxes, example["image"].shape[:2])}


def make_proposals(sources: Sources, *, train: str = "", eval: str = "") -> Sources:
    """The sources with proposals, for detectors that make none (Fast R-CNN, R-CNN).

    A picture without any is legal: nothing is found in it.

    Args:
        sources: Without them.
        train: A file of proposals for the training pictures, .json or .npz, as `cnn data propose`
            writes it; "" is none.
        eval: The same for the evaluation's; it may be the same file. One without the other is an
            error.

    Raises:
        UserError: If a file cannot be read or is none of these, or no picture is in it.
    """
    if bool(train) != bool(eval):
        raise UserError(
            "proposals.train and proposals.eval go together: a network that needs proposals in "
            "training needs them in evaluation"
        )
    if not train:
        return sources
    files = {path: read_proposals(path) for path in (train, eval)}
    for source, path in zip(sources, (train, eval), strict=True):
        ids, found = ids_of(source), files[path]
        if not any(name in found for name in ids):
            raise UserError(
                f"{path} has proposals for none of the {len(ids):,} pictures of "
                f"{source.info.name}: its image_ids are {_some(list(found))}, theirs {_some(ids)}"
            )
    return Sources(*(Proposed(s, files[p]) for s, p in zip(sources, (train, eval), strict=True)))


def as_shares(boxes: Boxes, shape: tuple[int, ...]) -> Float[np.ndarray, "kept 4"]:
    """Boxes in pixels of a picture as shares, cut at its edges; those without area are left out."""
    found = np.clip(boxes / np.array([*shape[:2], *shape[:2]], np.float32), 0.0, 1.0).astype(
        np.float32
    )
    return found[(found[:, 2:] > found[:, :2]).all(axis=1)]


def num_covered(example: Example, proposals: Boxes) -> tuple[int, int]:
    """How many of the objects of an example some proposal covers, and how many there are.

    Args:
        example: With boxes; those that do not count are not counted.
        proposals: As shares.
    """
    assert "boxes" in example and "box_labels" in example
    objects = example["boxes"][example["box_labels"] >= 0]
    starts = np.maximum(objects[:, None, :2], proposals[None, :, :2])
    ends = np.minimum(objects[:, None, 2:], proposals[None, :, 2:])
    common = np.prod(np.maximum(ends - starts, 0.0), axis=-1)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (objects, proposals)]
    covered = common >= COVERED_IOU * (sizes[0][:, None] + sizes[1][None] - common)
    return int(covered.any(axis=1).sum()), len(objects)


def read_proposals(path: str | pathlib.Path) -> dict[str, Boxes]:
    """The boxes of a file in pixels, by picture, the surest first.

    Raises:
        UserError: If it cannot be read, is no such file, or has a box that is not finite.
    """
    path = pathlib.Path(path).expanduser()
    try:
        columns = _from_npz(path) if path.suffix == ".npz" else _from_json(path)
        ids, boxes, scores = columns
        if boxes.shape != (len(ids), 4) or scores.shape != (len(ids),):
            raise ValueError(f"columns of shapes {ids.shape}, {boxes.shape} and {scores.shape}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{path} is no list of proposals, each with image_id, bbox [x, y, width, height] and "
            f"score, as JSON or as the columns of an .npz ({reason})"
        ) from error
    strange = np.flatnonzero(~(np.isfinite(boxes).all(axis=1) & np.isfinite(scores)))
    if len(strange):
        raise UserError(f"{path}: proposal {strange[0]} (image_id {ids[strange[0]]}) is not finite")
    order = np.lexsort((-scores, ids))
    names, starts = np.unique(ids[order], return_index=True)
    x, y, width, height = boxes[order].T
    corners = np.stack([y, x, y + height, x + width], axis=1)
    parts = itertools.pairwise([*starts.tolist(), len(ids)])
    return {str(name): corners[slice(*part)] for name, part in zip(names, parts, strict=True)}


def write_proposals(path: pathlib.Path, found: Mapping[str, Scored]) -> None:
    """Writes a file, .json or .npz by its ending.

    Raises:
        UserError: If it cannot be written.
    """
    ids = np.repeat(list(found), [len(one.boxes) for one in found.values()])
    boxes = np.concatenate([one.boxes for one in found.values()]).astype(np.float32)
    scores = np.concatenate([one.scores for one in found.values()]).astype(np.float32)
    y0, x0, y1, x1 = boxes.T
    bbox = np.stack([x0, y0, x1 - x0, y1 - y0], axis=1)
    try:
        if path.suffix == ".npz":
            np.savez_compressed(path, image_id=ids, bbox=bbox, score=scores)
            return
        rows = zip(map(_number, ids.tolist()), bbox.tolist(), scores.tolist(), strict=True)
        listed = [dict(zip(("image_id", "bbox", "score"), row, strict=True)) for row in rows]
        path.write_text(json.dumps(listed), "utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


Columns = tuple[Shaped[np.ndarray, " boxes"], Boxes, Float[np.ndarray, " boxes"]]


def _from_json(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows: Any = json.loads(path.read_text("utf-8"))
    return (
        np.array([str(row["image_id"]) for row in rows]),
        np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4),
        np.array([row["score"] for row in rows], np.float32),
    )


def _from_npz(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Of a broken file np.load would leave open what it opened itself.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return (
            file["image_id"],
            file["bbox"].astype(np.float32),
            file["score"].astype(np.float32),
        )


def _number(name: str) -> int | str:
    """COCO's ids are numbers; a picture of VOC may be called 000005."""
    return int(name) if name.isdecimal() and str(int(name)) == name else name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
