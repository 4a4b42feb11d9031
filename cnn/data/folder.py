"""Your own pictures: a folder of class folders, split by folders or by the names of the files."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn.data.contract import Example, SourceInfo, Sources
from cnn.data.decode import read_file, read_image
from cnn.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
EVAL_FOLDERS = ("val", "valid", "validation", "test")


class FolderSource:
    """Image files with their labels, decoded to RGB when they are read."""

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        labels: Sequence[int],
        info: SourceInfo,
        min_px: int = 0,
    ) -> None:
        self._paths = tuple(paths)
        self._min_px = min_px
        self.labels = np.asarray(labels, np.int64)
        self.info = info

    @property
    def file_names(self) -> tuple[str, ...]:
        """Of all examples, without their folders."""
        return tuple(path.name for path in self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> bytes:
        """As `cnn.data.contract.Encoded`."""
        return read_file(self._paths[index])

    def decoded(self, index: int, stored: bytes, /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        image = read_image(stored, name=str(self._paths[index]), min_px=self._min_px)
        return {"image": image, "label": int(self.labels[index])}


def folder(
    root: str | os.PathLike[str],
    train_split: str,
    eval_split: str,
    eval_fraction: float,
    *,
    decode_min_px: int = 0,
) -> Sources:
    """The training and evaluation part of a folder of class folders.

    Files of a class may lie in folders inside its folder. Classes are numbered in the order of
    their sorted names. Hidden files and folders, and files that are no images by their extension
    (`EXTENSIONS`), are passed over.

    Args:
        root: Holds `train` and one of `EVAL_FOLDERS`, or the class folders themselves.
        train_split: Folder inside `root` to train on; "" finds it.
        eval_split: Folder inside `root` to evaluate on; "" finds it.
        eval_fraction: Without a folder to evaluate on, the share of each class that is held out, in
            (0, 1): the files whose paths hash lowest, at least one, and at least one is left.
        decode_min_px: `min_px` of `cnn.data.read_image` for the training: as if it had been stored
            smaller. Twice the size that the model sees is a good value for photographs of several
            thousand pixels; 0 decodes whole, as the evaluation always does.

    Raises:
        UserError: If a folder is missing or unreadable, there are fewer than two classes, a class
            has no images, or the evaluation has a class that the training has not; from the
            sources: if an image cannot be read.
    """
    base = pathlib.Path(root).expanduser()
    if not str(root):
        raise UserError('data.source="folder" needs data.root, the folder of your class folders')
    if not base.is_dir():
        what = "is a file" if base.exists() else "does not exist"
        raise UserError(f"data.root={str(base)!r} {what}; give the folder of your class folders")
    train_name, eval_name = _split_names(base, train_split, eval_split)
    train = _scan(base / train_name)
    if eval_name is None:
        train, held_out = _hold_out(train, eval_fraction)
    else:
        held_out = _scan(base / eval_name)
        _refuse_new_classes(train, held_out, base / eval_name)
    labels = {name: label for label, name in enumerate(train.files)}
    return Sources(
        _source(train, labels, "train", decode_min_px), _source(held_out, labels, "eval", 0)
    )


def one_folder(root: str | os.PathLike[str]) -> FolderSource:
    """All pictures of a folder of class folders, as `folder` reads them, in one part.

    Raises:
        UserError: As `folder`.
    """
    base = pathlib.Path(root).expanduser()
    if not base.is_dir():
        what = "is a file" if base.exists() else "does not exist"
        raise UserError(f"{str(base)!r} {what}; give a folder of class folders")
    tree = _scan(base)
    return _source(tree, {name: label for label, name in enumerate(tree.files)}, "all", 0)


class _Tree(NamedTuple):
    """A folder of class folders: the files of each class, sorted."""

    root: pathlib.Path
    files: dict[str, list[pathlib.Path]]


def _split_names(base: pathlib.Path, train: str, held_out: str) -> tuple[str, str | None]:
    """The folders inside `base` to train on and evaluate on; ("", None) if it holds the classes."""
    there = {path.name for path in _folders(base)}
    for name in (train, held_out):
        if name and name not in there:
            raise UserError(
                f"no folder {name!r} in {str(base)!r} (known: {', '.join(sorted(there)[:40])})"
            )
    evals = [name for name in EVAL_FOLDERS if name in there]
    if held_out or ("train" in there and evals):
        return train or "train", held_out or evals[0]
    # A lone `train` holds the classes; beside other folders it is a class (of vehicles, say).
    return train or ("train" if there == {"train"} else ""), None


def _folders(base: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(p for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read the folder {str(base)!r}: {error.strerror}") from error


def _scan(root: pathlib.Path) -> _Tree:
    classes = _folders(root)
    if len(classes) < 2:
        found = f"only the class {classes[0].name!r}" if classes else "no class folders"
        raise UserError(f"{found} in {str(root)!r}; it takes one folder of images for each class")
    return _Tree(root, {path.name: _images(path) for path in classes})


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder {error.filename!r}: {error.strerror}") from error

    found: list[pathlib.Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            pathlib.Path(parent, name)
            for name in files
            if not name.startswith(".") and pathlib.PurePath(name).suffix.lower() in EXTENSIONS
        ]
    if not found:
        kinds = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        raise UserError(f"the class folder {str(folder)!r} has no images (known: {kinds})")
    return sorted(found)


def _hold_out(tree: _Tree, fraction: float) -> tuple[_Tree, _Tree]:
    """Parts each class by the hash of the paths: the same on any machine."""
    if not 0 < fraction < 1:
        raise UserError(f"data.eval_fraction must be above 0 and below 1, got {fraction}")

    def rank(path: pathlib.Path) -> bytes:
        return hashlib.sha256(os.fsencode(path.relative_to(tree.root).as_posix())).digest()

    train: dict[str, list[pathlib.Path]] = {}
    held_out: dict[str, list[pathlib.Path]] = {}
    for name, files in tree.files.items():
        if len(files) < 2:
            raise UserError(
                f"the class folder {str(tree.root / name)!r} has 1 image, too few to hold one out; "
                "add images, or put them into train/ and val/ yourself"
            )
        count = min(max(round(len(files) * fraction), 1), len(files) - 1)
        chosen = set(sorted(files, key=rank)[:count])
        train[name] = [path for path in files if path not in chosen]
        held_out[name] = [path for path in files if path in chosen]
    return _Tree(tree.root, train), _Tree(tree.root, held_out)


def _refuse_new_classes(train: _Tree, held_out: _Tree, where: pathlib.Path) -> None:
    new = sorted(held_out.files.keys() - train.files.keys())
    if new:
        raise UserError(
            f"{str(where)!r} has classes that the training folder has not: {', '.join(new)} "
            f"(known: {', '.join(list(train.files)[:40])})"
        )


def _source(tree: _Tree, labels: dict[str, int], part: str, min_px: int) -> FolderSource:
    pairs = [(path, labels[name]) for name, files in tree.files.items() for path in files]
    info = SourceInfo(f"{tree.root} {part}", tuple(labels))
    return FolderSource([path for path, _ in pairs], [label for _, label in pairs], info, min_px)
