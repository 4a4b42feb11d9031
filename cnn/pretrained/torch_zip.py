"""torch's zip format, of version 1.6 and later, without torch and without running any code.

Such a file holds `data.pkl`, which describes tensors, and `data/0`, `data/1`, ..., which are their
bytes. The description is a pickle, and a pickle calls whatever it names; this one may name what
tensors are made of and nothing else, as with `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import collections
import io
import json
import math
import pathlib
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from cnn.errors import UserError

Tensor = Shaped[np.ndarray, "..."]

_DTYPES = {
    "Float": np.dtype(np.float32),
    "Double": np.dtype(np.float64),
    "Half": np.dtype(np.float16),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype(np.int64),
    "Int": np.dtype(np.int32),
    "Short": np.dtype(np.int16),
    "Char": np.dtype(np.int8),
    "Byte": np.dtype(np.uint8),
    "Bool": np.dtype(np.bool_),
}
"""By the name of torch's storage, less the word `Storage`."""

_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""What a file of the format before 1.6 begins with: a number, pickled."""

# torch reads nothing but what its description names, so notes of ours may lie beside.
_NOTES = "extra/cnn.json"
_ROOT = "archive"


class _Storage(NamedTuple):
    """Bytes of one or more tensors, as a row of numbers."""

    values: Shaped[np.ndarray, " size"]


class _Refused(Exception):
    """The description names something that no tensor is made of."""


class _Unpickler(pickle.Unpickler):
    """Reads a description; what it may name is what `find_class` returns."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What `module.name` stands for. Nothing is imported."""
        full = f"{module}.{name}"
        # Bound methods, types and dtypes: a pickle can set attributes of none of them.
        known: dict[str, Any] = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch.Size": tuple,
        }
        for storage, dtype in _DTYPES.items():
            known[f"torch.{storage}Storage"] = dtype
            known[f"torch.{dtype.name}"] = dtype
        if full not in known:
            raise _Refused(full)
        return known[full]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that the description refers to."""
        kind, dtype, key, _, _ = pid
        if kind != "storage":
            raise _Refused(str(kind))
        if key not in self._storages:
            content = self._archive.read(f"{self._root}/data/{key}")
            self._storages[key] = _Storage(np.frombuffer(content, dtype))
        return self._storages[key]

    def _tensor(
        self,
        storage: _Storage,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: Any,
    ) -> Tensor:
        values = storage.values
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride)) < 0 or (math.prod(size) and last >= len(values)):
            raise ValueError(f"a tensor of shape {tuple(size)} reaches beyond its storage")
        steps = tuple(step * values.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(values[offset:], tuple(size), steps)
        return np.array(view, order="C")

    def _parameter(self, tensor: Tensor, *_: Any) -> Tensor:
        return tensor


def load(path: pathlib.Path) -> tuple[Any, Any]:
    """What `torch.save` wrote, its tensors as NumPy arrays; and the notes of `dump`, or None.

    Raises:
        UserError: If the file is damaged, of another format, or would have to run code to be read.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(_what_else(path))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next((n.removesuffix("/data.pkl") for n in names if n.endswith("/data.pkl")), "")
            if not root:
                raise UserError(f"cannot read {path}: a zip, but without torch's data.pkl in it")
            if f"{root}/constants.pkl" in names:
                raise UserError(
                    f"cannot read {path}: it is a TorchScript program; save its state_dict()"
                )
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UserError(f"cannot read {path}: it is compressed, which torch never does")
            order = f"{root}/byteorder"
            if order in names and archive.read(order) != b"little":
                raise UserError(f"cannot read {path}: its numbers are big-endian")
            notes = f"{root}/{_NOTES}"
            noted = json.loads(archive.read(notes)) if notes in names else None
            return _Unpickler(archive, root).load(), noted
    except UserError:
        raise
    except _Refused as error:
        raise UserError(
            f"{path} is a pickle that names {str(error)!r}, which is code and no tensor; nothing of"
            " it was run. Save the state_dict() alone, or as .safetensors"
        ) from error
    # A damaged zip or pickle makes its readers stumble over anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot read {path}: truncated or damaged ({reason})") from error


def dump(tensors: Mapping[str, Tensor], notes: Any = None) -> bytes:
    """The bytes of a file from which `torch.load(weights_only=True)` reads a state dict.

    Args:
        tensors: By name.
        notes: Kept beside the tensors as JSON; torch does not see them.

    Raises:
        UserError: If torch has no type for a tensor.
    """
    storages = {dtype: f"{name}Storage" for name, dtype in _DTYPES.items()}
    description = [b"\x80\x02", _EMPTY, b"("]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            # Without the time of day, so that equal tensors make equal files.
            archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{name}"), content)

        for index, (name, tensor) in enumerate(tensors.items()):
            if tensor.dtype not in storages:
                raise UserError(f"{name!r} is of type {tensor.dtype}, which a .pth cannot hold")
            description += [_literal(name), _described(tensor, str(index), storages[tensor.dtype])]
            add(f"data/{index}", tensor.tobytes())
        add("data.pkl", b"".join([*description, b"u."]))
        add("byteorder", b"little")
        add("version", b"3\n")
        if notes is not None:
            add(_NOTES, json.dumps(notes).encode())
    return file.getvalue()


# In the words of the pickle format: c names, ( and t enclose a tuple, R calls, Q refers to a
# storage, \x89 is False. Written out, since Python's pickler has to import what it names.
_EMPTY = b"ccollections\nOrderedDict\n)R"


def _described(tensor: Tensor, key: str, storage: str) -> bytes:
    strides = tuple(
        step // tensor.itemsize for step in np.empty(tensor.shape, tensor.dtype).strides
    )
    parts = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        *(_literal("storage"), f"ctorch\n{storage}\n".encode()),
        *(_literal(key), _literal("cpu"), _literal(tensor.size), b"tQ"),
        *(_literal(0), _literal(tensor.shape), _literal(strides), b"\x89", _EMPTY, b"tR"),
    ]
    return b"".join(parts)


def _literal(value: Any) -> bytes:
    """A string, number or tuple, less what begins and ends a pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _what_else(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
    if start == _LEGACY or tarfile.is_tarfile(path):
        return (
            f"{path} is of torch's format before 1.6; convert it where torch is: "
            f'python -c "import torch; torch.save(torch.load({str(path)!r}, weights_only=True), '
            "'new.pth')\""
        )
    if start.startswith(b"PK"):
        return f"cannot read {path}: truncated, the end of the zip is missing"
    return f"cannot read {path}: it is no file of torch.save"
