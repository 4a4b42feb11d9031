"""Data sets by name: the config section `data` becomes a training and an evaluation source."""

from __future__ import annotations

import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cnn.data.arrays import idx, npz
from cnn.data.cache import Cached
from cnn.data.contract import Sources
from cnn.data.digits import mnist5k
from cnn.data.fashion import fashion_mnist
from cnn.data.folder import folder
from cnn.data.masks import masks
from cnn.data.objects import boxes
from cnn.data.pairs import outlines, pairs, unpaired
from cnn.data.sampling import Concatenation
from cnn.data.scenes import scenes
from cnn.data.shards import shards
from cnn.data.synthetic import synthetic
from cnn.data.table import table
from cnn.data.tfds import tfds
from cnn.errors import UserError, unknown


def open_sources(
    *,
    source: str,
    root: str,
    name: str,
    train_split: str,
    eval_split: str,
    eval_fraction: float,
    cache_mb: int,
    options: Mapping[str, Mapping[str, Any]],
) -> Sources:
    """The training and the evaluation part of a data set.

    Args:
        source: The kind: "mnist5k" (embedded), "folder" (your own pictures), "table" (CSV or JSONL
            of paths and labels), "shards" (tar files as WebDataset writes them), "tfds", "idx" (the
            files of MNIST and its kin), "fashion_mnist" (such files, and the names of its classes),
            "npz", "synthetic" (nothing is read). With a class for each pixel or with boxes of
            objects: "scenes" (composed of the embedded digits), "masks" (folders of pictures and of
            masks) and "boxes" (pictures with annotations of COCO's, PASCAL VOC's or YOLO's
            formats). With two images an example: "pairs" (pictures of both side by side),
            "unpaired" (two folders) and "outlines" (of the embedded digits).
        root: The folder of class folders, of tables, of shards, of IDX files or of the folders of
            pictures and masks or annotations; the npz file.
            "tfds": where data sets were prepared; "" is tfds's own default. "fashion_mnist": "" is
            where Debian's package put it. Several folders of classes, tables or shards, parted by
            ":" as in PATH, are one data set, of the classes of the first; `sampling.weights` says
            how often each is drawn.
        name: "tfds": the data set, for instance "cifar10" or "imagenet2012:5.1.0".
        train_split: What is trained on. "folder": a folder inside `root`; "" is `train` if there is
            one, else a part of `root` itself. "masks": the same, inside both folders, or a file of
            names. "boxes": see `cnn.data.objects`. "table": a file; "" is `train.csv` or `.jsonl`.
            "shards": a pattern; "" is `train*.tar`. "tfds": a split such as "train[:90%]"; "" is
            "train".
        eval_split: What is evaluated on, as `train_split`; "" is the first that exists of `val`,
            `valid`, `validation` and `test`.
        eval_fraction: Of a folder or table without an evaluation part, the share of each class that
            is held out, in (0, 1); always the same files.
        cache_mb: Decoded images are kept in memory up to this many megabytes a source, so that a
            small data set is decoded once; 0 keeps none.
        options: By kind, its own arguments (see `cnn.data.folder`, `masks`, `objects`, `pairs`,
            `scenes`,
            `shards`, `synthetic` and `table`); only those of `source` are read.

    Raises:
        UserError: If there is no such kind, a value means nothing to it, or the data are missing.
    """
    if source not in _KINDS:
        raise unknown("data source", source, _KINDS)
    kind = _KINDS[source]
    own = dict(options.get(source, {}))
    known = OPTIONS.get(source, {})
    for option in own:
        if option not in known:
            raise unknown(f"key of data.options.{source}", option, known)
    if own.get("decode_min_px", 0) < 0:
        raise UserError(
            f"data.options.{source}.decode_min_px must be at least 0, got {own['decode_min_px']}"
        )
    request = _Request(root, name, train_split, eval_split, eval_fraction, own)
    for field in ("root", "name", "train_split", "eval_split"):
        value = getattr(request, field)
        if value and field not in kind.uses:
            raise UserError(
                f"data.{field}={value!r} means nothing to data.source={source!r}; "
                f"unset it, or choose the source that reads it (known: {', '.join(_KINDS)})"
            )
    opened = [kind.open(request._replace(root=path)) for path in _paths(root, kind)]
    if kind.decodes and cache_mb:
        max_bytes = cache_mb * 10**6 // len(opened)
        opened = [Sources(*(Cached(s, max_bytes=max_bytes) for s in pair)) for pair in opened]
    if len(opened) == 1:
        return opened[0]
    return Sources(*(Concatenation(*sources) for sources in zip(*opened, strict=True)))


def _paths(root: str, kind: _Kind) -> list[str]:
    if not kind.many or pathlib.Path(root).expanduser().exists():
        return [root]
    return root.split(os.pathsep)


class _Request(NamedTuple):
    """The values of the section `data`, "" where none was given."""

    root: str
    name: str
    train_split: str
    eval_split: str
    eval_fraction: float
    options: dict[str, Any]


class _Kind(NamedTuple):
    """How a kind of source is opened, which texts mean something to it, whether reading is slow.

    `many` is whether `root` may be several.
    """

    open: Callable[[_Request], Sources]
    uses: tuple[str, ...]
    decodes: bool
    many: bool = False


def _open_folder(request: _Request) -> Sources:
    splits = request.train_split, request.eval_split
    return folder(request.root, *splits, request.eval_fraction, **request.options)


def _open_masks(request: _Request) -> Sources:
    splits = request.train_split, request.eval_split
    return masks(request.root, *splits, request.eval_fraction, **request.options)


def _open_boxes(request: _Request) -> Sources:
    return boxes(request.root, request.train_split, request.eval_split, **request.options)


def _open_pairs(request: _Request) -> Sources:
    return pairs(request.root, request.train_split, request.eval_split, **request.options)


def _open_unpaired(request: _Request) -> Sources:
    return unpaired(request.root, request.train_split, request.eval_split, **request.options)


def _open_tfds(request: _Request) -> Sources:
    return tfds(request.name, request.root, request.train_split, request.eval_split)


def _open_table(request: _Request) -> Sources:
    splits = request.train_split, request.eval_split
    return table(request.root, *splits, request.eval_fraction, **request.options)


def _open_shards(request: _Request) -> Sources:
    return shards(request.root, request.train_split, request.eval_split, **request.options)


_SPLIT = ("root", "train_split", "eval_split")
_KINDS = {
    "boxes": _Kind(_open_boxes, uses=_SPLIT, decodes=True),
    "fashion_mnist": _Kind(
        lambda request: fashion_mnist(request.root), uses=("root",), decodes=False
    ),
    "folder": _Kind(_open_folder, uses=_SPLIT, decodes=True, many=True),
    "idx": _Kind(lambda request: idx(request.root), uses=("root",), decodes=False),
    "masks": _Kind(_open_masks, uses=_SPLIT, decodes=True),
    "mnist5k": _Kind(lambda request: mnist5k(), uses=(), decodes=False),
    "npz": _Kind(lambda request: npz(request.root), uses=("root",), decodes=False),
    "outlines": _Kind(lambda request: outlines(**request.options), uses=(), decodes=False),
    "pairs": _Kind(_open_pairs, uses=_SPLIT, decodes=True),
    "scenes": _Kind(lambda request: scenes(**request.options), uses=(), decodes=True),
    "shards": _Kind(_open_shards, uses=_SPLIT, decodes=True, many=True),
    "synthetic": _Kind(lambda request: synthetic(**request.options), uses=(), decodes=False),
    "table": _Kind(_open_table, uses=_SPLIT, decodes=True, many=True),
    "tfds": _Kind(_open_tfds, uses=("name", *_SPLIT), decodes=True),
    "unpaired": _Kind(_open_unpaired, uses=_SPLIT, decodes=True),
}


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


_OWN = (boxes, folder, masks, outlines, pairs, scenes, shards, synthetic, table, unpaired)
OPTIONS = {function.__name__: _defaults(function) for function in _OWN}
"""By kind, the arguments that only it has, with their defaults."""
