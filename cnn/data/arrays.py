"""Data sets kept as arrays: the IDX files of MNIST and its kin, and NumPy's npz."""

from __future__ import annotations

import gzip
import os
import pathlib
import zipfile
import zlib

import numpy as np

from cnn.data.contract import ArraySource, SourceInfo, Sources
from cnn.errors import UserError

IDX_PREFIXES = {"train": ("train",), "eval": ("t10k", "test", "val")}
NPZ_KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "eval": (("x_test", "y_test"), ("test_images", "test_labels"), ("val_images", "val_labels")),
}
_UINT8 = 8


def idx(root: str | os.PathLike[str], *, class_names: tuple[str, ...] | None = None) -> Sources:
    """MNIST, Fashion-MNIST, KMNIST or EMNIST as they are distributed.

    Args:
        root: The folder of `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of
            `t10k`, with or without `.gz`.
        class_names: By label; None names them by their numbers.

    Raises:
        UserError: If a file is missing, no IDX file of bytes, cut, or does not fit the others, or
            if there are more labels than names.
    """
    base = pathlib.Path(root).expanduser()
    if not str(root):
        raise UserError('data.source="idx" needs data.root, the folder of the -ubyte files')
    if not base.is_dir():
        raise UserError(f"data.root={str(base)!r} is no folder; give that of the -ubyte files")
    parts = {}
    for part, prefixes in IDX_PREFIXES.items():
        images = read_idx(_idx_file(base, prefixes, "images-idx3-ubyte"))
        labels = read_idx(_idx_file(base, prefixes, "labels-idx1-ubyte"))
        parts[part] = images, labels
    return _sources(str(base), parts, class_names)


def npz(root: str | os.PathLike[str]) -> Sources:
    """Arrays of images and labels under the names that Keras or MedMNIST give them.

    Args:
        root: The file; it holds `x_train`, `y_train`, `x_test` and `y_test`, or `train_images`,
            `train_labels`, and the same of `test` or `val`. Images are uint8 [examples, height,
            width] or [examples, height, width, channels]; labels are whole numbers from 0 on.

    Raises:
        UserError: If the file is missing, damaged, or lacks an array.
    """
    path = pathlib.Path(root).expanduser()
    if not str(root):
        raise UserError('data.source="npz" needs data.root, the file')
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            parts = {part: _pair(file, path, part) for part in NPZ_KEYS}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: no npz file, or a damaged one ({error})") from error
    return _sources(str(path), parts, None)


def read_idx(path: pathlib.Path) -> np.ndarray:
    """The array of an IDX file of unsigned bytes, packed by gzip or not.

    Raises:
        UserError: If it is missing, something else, cut, or too long.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read {path}: {reason}") from error
    rank = data[3] if len(data) > 3 else 0
    if len(data) < 4 + 4 * rank or data[:2] != b"\x00\x00" or data[2] != _UINT8 or not rank:
        raise UserError(f"cannot read {path}: no IDX file of unsigned bytes")
    shape = tuple(int(side) for side in np.frombuffer(data, ">u4", rank, offset=4))
    start, need = 4 + 4 * rank, int(np.prod(shape, dtype=np.int64))
    if len(data) != start + need:
        raise UserError(
            f"cannot read {path}: its header promises {need:,} bytes of shape {shape}, it has "
            f"{len(data) - start:,}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _idx_file(base: pathlib.Path, prefixes: tuple[str, ...], kind: str) -> pathlib.Path:
    # Some have a dot where the originals have a dash.
    kinds = (kind, kind.replace("-idx", ".idx"))
    names = [f"{prefix}-{k}{end}" for prefix in prefixes for k in kinds for end in ("", ".gz")]
    for name in names:
        if (base / name).is_file():
            return base / name
    raise UserError(f"no {names[0]} (nor .gz) in {str(base)!r}")


def _pair(file: np.lib.npyio.NpzFile, path: pathlib.Path, part: str) -> tuple[np.ndarray, ...]:
    for names in NPZ_KEYS[part]:
        if all(name in file for name in names):
            return tuple(file[name] for name in names)
    wanted = " or ".join(" and ".join(names) for names in NPZ_KEYS[part])
    raise UserError(f"{path} lacks {wanted} (known: {', '.join(file.files)})")


def _sources(
    name: str, parts: dict[str, tuple[np.ndarray, ...]], class_names: tuple[str, ...] | None
) -> Sources:
    """Checks the arrays; without names, classes go from 0 to the highest label of the training."""
    checked = {part: _checked(f"{name} {part}", *pair) for part, pair in parts.items()}
    highest = int(checked["train"][1].max())
    stray = checked["eval"][1] > highest
    if stray.any():
        raise UserError(
            f"{name} eval has the label {int(checked['eval'][1][stray][0])}, but the labels of the "
            f"training end at {highest}"
        )
    names = class_names or tuple(str(label) for label in range(highest + 1))
    if highest >= len(names):
        raise UserError(
            f"{name} train has the label {highest}, but there are {len(names)} classes "
            f"({names[0]}, ... {names[-1]}); use data.source='idx' for other data"
        )
    made = (
        ArraySource(*pair, SourceInfo(f"{name} {part}", names)) for part, pair in checked.items()
    )
    return Sources(*made)


def _checked(name: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = labels.reshape(-1) if labels.size == len(labels) else labels
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"{name} has images of {images.dtype} {images.shape}; they must be uint8 [examples, "
            "height, width] or [examples, height, width, channels]"
        )
    if len(images) != len(labels) or labels.ndim != 1 or not len(labels):
        raise UserError(
            f"{name} has {len(images):,} images and labels of shape {labels.shape}; it takes one "
            "label an image"
        )
    if not np.issubdtype(labels.dtype, np.integer) or int(labels.min()) < 0:
        raise UserError(
            f"{name} has labels of {labels.dtype} from {labels.min()} on; they must be whole "
            "numbers, 0 or more"
        )
    return images[..., None] if images.ndim == 3 else images, labels.astype(np.int64)
