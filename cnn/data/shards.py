"""Shards of tar, as WebDataset writes them, with random access by the offsets of their files."""

from __future__ import annotations

import os
import pathlib
import tarfile
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn.data.contract import Example, SourceInfo, Sources
from cnn.data.decode import read_image
from cnn.errors import UserError

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
LABEL = "cls"
NAMES_FILE = "classes.txt"
EVAL_PATTERNS = ("val*.tar", "valid*.tar", "test*.tar")
_BLOCK = 512


class ShardSource:
    """Pictures inside tar files; what is kept in memory is where each begins."""

    def __init__(
        self,
        files: Sequence[_Member],
        labels: Sequence[int],
        info: SourceInfo,
        min_px: int = 0,
    ) -> None:
        self._min_px = min_px
        self._shards = tuple(dict.fromkeys(file.shard for file in files))
        number = {shard: i for i, shard in enumerate(self._shards)}
        # Arrays, since a million tuples are hundreds of megabytes.
        self._where = np.asarray([(number[f.shard], f.offset, f.size) for f in files], np.int64)
        self._keys = tuple(file.key for file in files)
        self.labels = np.asarray(labels, np.int64)
        self.info = info
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> bytes:
        """As `cnn.data.contract.Encoded`."""
        shard, offset, size = (int(value) for value in self._where[index])
        try:
            return os.pread(self._descriptor(shard), size, offset)
        except OSError as error:
            raise UserError(f"cannot read {self._name(index)}: {error.strerror}") from error

    def decoded(self, index: int, stored: bytes, /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        image = read_image(stored, name=self._name(index), min_px=self._min_px)
        return {"image": image, "label": int(self.labels[index])}

    def _name(self, index: int) -> str:
        return f"{self._keys[index]} in {self._shards[int(self._where[index, 0])]}"

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process opens the files for itself.
        return {**self.__dict__, "_open": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _descriptor(self, shard: int) -> int:
        with self._lock:
            if shard not in self._open:
                self._open[shard] = os.open(self._shards[shard], os.O_RDONLY)
            return self._open[shard]


def shards(
    root: str | os.PathLike[str], train_split: str, eval_split: str, *, decode_min_px: int = 0
) -> Sources:
    """The examples of tar files in which `KEY.jpg` (or another kind) and `KEY.cls` belong together.

    A `.cls` holds the number of the class. The names of the classes are the lines of
    `classes.txt` beside the shards; without it they are the numbers themselves.

    Args:
        root: Folder of the shards.
        train_split: Pattern of the names of the training shards; "" is `train*.tar`.
        eval_split: Of those for evaluation; "" is the first of `EVAL_PATTERNS` that fits any.
        decode_min_px: As for `cnn.data.folder.folder`.

    Raises:
        UserError: If no file fits, one is cut or no tar, a picture has no label, or a label is out
            of range; from the sources: if an image cannot be read.
    """
    base = pathlib.Path(root).expanduser()
    if not str(root) or not base.is_dir():
        raise UserError(f'data.source="shards" needs data.root, the folder of shards; got {root!r}')
    train_files = _matching(base, (train_split or "train*.tar",))
    eval_files = _matching(base, (eval_split,) if eval_split else EVAL_PATTERNS)
    train, held_out = (_examples(files) for files in (train_files, eval_files))
    names = _class_names(base, train[1])
    for paths, (_, labels) in ((train_files, train), (eval_files, held_out)):
        if not 0 <= min(labels) <= max(labels) < len(names):
            raise UserError(
                f"{paths[0]} and its kin have labels from {min(labels)} to {max(labels)}, but "
                f"there are {len(names)} classes"
            )
    return Sources(
        ShardSource(*train, SourceInfo(f"{base} train", names), decode_min_px),
        ShardSource(*held_out, SourceInfo(f"{base} eval", names)),
    )


class _Member(NamedTuple):
    key: str
    shard: str
    offset: int
    size: int


def _matching(base: pathlib.Path, patterns: tuple[str, ...]) -> list[pathlib.Path]:
    for pattern in patterns:
        found = sorted(base.glob(pattern))
        if found:
            return found
    known = ", ".join(sorted(path.name for path in base.glob("*.tar"))[:20]) or "no tar file"
    raise UserError(f"no file fits {' or '.join(patterns)} in {str(base)!r} (known: {known})")


def _examples(paths: list[pathlib.Path]) -> tuple[list[_Member], list[int]]:
    files, labels = [], []
    for path in paths:
        pictures, numbers = _index(path)
        for key, member in pictures.items():
            if key not in numbers:
                raise UserError(f"{key} in {path} has no {key}.{LABEL}, the number of its class")
            files.append(member)
            labels.append(numbers[key])
    if not files:
        raise UserError(f"{paths[0]} has no images (known: {' '.join(IMAGES)})")
    return files, labels


def _index(path: pathlib.Path) -> tuple[dict[str, _Member], dict[str, int]]:
    """The pictures and the labels of a shard, by key."""
    pictures: dict[str, _Member] = {}
    labels: dict[str, int] = {}
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"cut inside {member.name}")
                key, _, kind = _split(member.name)
                if not member.isfile():
                    continue
                if kind in IMAGES:
                    pictures[key] = _Member(key, str(path), member.offset_data, member.size)
                elif kind == LABEL:
                    file = tar.extractfile(member)
                    text = file.read() if file else b""
                    labels[key] = _number(text, f"{member.name} in {path}")
            end = tar.offset
        # A cut between two files looks whole but for the zeros that end a tar.
        if size < end + _BLOCK:
            raise tarfile.ReadError("cut between two files")
    except (OSError, ValueError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read the shard {path}: {reason}; copy it again") from error
    return pictures, labels


def _split(name: str) -> tuple[str, str, str]:
    """WebDataset's rule: the key ends at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, dot, kind = file.partition(".")
    return folder + slash + stem, dot, kind.lower()


def _number(text: bytes, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"{name} holds {text[:20]!r}, no number of a class; its name goes into {NAMES_FILE}"
        ) from None


def _class_names(base: pathlib.Path, labels: list[int]) -> tuple[str, ...]:
    path = base / NAMES_FILE
    if path.is_file():
        return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line)
    return tuple(str(label) for label in range(max(labels) + 1))
