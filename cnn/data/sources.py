"""Data sets by name: the config section `data` becomes a training and an evaluation source."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cnn.data.cache import Cached
from cnn.data.contract import Sources
from cnn.data.digits import mnist5k
from cnn.data.folder import folder
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
) -> Sources:
    """The training and the evaluation part of a data set.

    Args:
        source: The kind: "mnist5k" (embedded), "folder" (your own pictures) or "tfds".
        root: "folder": the folder of class folders. "tfds": where data sets were prepared; "" is
            tfds's own default.
        name: "tfds": the data set, for instance "cifar10" or "imagenet2012:5.1.0".
        train_split: What is trained on. "folder": a folder inside `root`; "" is `train` if there is
            one, else a part of `root` itself. "tfds": a split such as "train[:90%]"; "" is "train".
        eval_split: What is evaluated on, as `train_split`; "" is the first that exists of `val`,
            `valid`, `validation` and `test`.
        eval_fraction: Of a folder without an evaluation part, the share of each class that is held
            out, in (0, 1); always the same files.
        cache_mb: Decoded images are kept in memory up to this many megabytes a source, so that a
            small data set is decoded once; 0 keeps none.

    Raises:
        UserError: If there is no such kind, a value means nothing to it, or the data are missing.
    """
    if source not in _KINDS:
        raise unknown("data source", source, _KINDS)
    kind = _KINDS[source]
    request = _Request(root, name, train_split, eval_split, eval_fraction)
    for field in ("root", "name", "train_split", "eval_split"):
        value = getattr(request, field)
        if value and field not in kind.uses:
            raise UserError(
                f"data.{field}={value!r} means nothing to data.source={source!r}; "
                f"unset it, or choose the source that reads it (known: {', '.join(_KINDS)})"
            )
    sources = kind.open(request)
    if not kind.decodes or not cache_mb:
        return sources
    return Sources(*(Cached(part, max_bytes=cache_mb * 10**6) for part in sources))


class _Request(NamedTuple):
    """The values of the section `data`, "" where none was given."""

    root: str
    name: str
    train_split: str
    eval_split: str
    eval_fraction: float


class _Kind(NamedTuple):
    """How a kind of source is opened, which texts mean something to it, whether reading is slow."""

    open: Callable[[_Request], Sources]
    uses: tuple[str, ...]
    decodes: bool


def _open_folder(request: _Request) -> Sources:
    return folder(request.root, request.train_split, request.eval_split, request.eval_fraction)


def _open_tfds(request: _Request) -> Sources:
    return tfds(request.name, request.root, request.train_split, request.eval_split)


_KINDS = {
    "mnist5k": _Kind(lambda request: mnist5k(), uses=(), decodes=False),
    "folder": _Kind(_open_folder, uses=("root", "train_split", "eval_split"), decodes=True),
    "tfds": _Kind(_open_tfds, uses=("root", "name", "train_split", "eval_split"), decodes=True),
}
