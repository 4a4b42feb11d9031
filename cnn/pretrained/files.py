"""Weights in files: `.safetensors`, and torch's `.pth`, `.pt`, `.bin`; with facts beside them.

torch is not needed, and no file gets to run code.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from cnn import errors
from cnn.errors import UserError
from cnn.pretrained import facts as factual
from cnn.pretrained import torch_zip
from cnn.pretrained.facts import Facts
from cnn.report import files

Tensor = Shaped[np.ndarray, "..."]

_SAFETENSORS = (".safetensors",)
_TORCH = (".pth", ".pt", ".bin")
SUFFIXES = (*_SAFETENSORS, *_TORCH)

# What training scripts put around a state dict; of a moving average and what it is of, the average.
_WRAPPERS = ("model_ema", "state_dict_ema", "model", "state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_METADATA = "cnn"


class Weights(NamedTuple):
    """Tensors, and what is known of them.

    Attributes:
        tensors: By torch's names or by our paths (`params/backbone/stem_conv/kernel`).
        facts: What the file says of them.
        notes: What had to be unwrapped to get at the tensors, for the user.
    """

    tensors: Mapping[str, Tensor]
    facts: Facts = Facts()
    notes: tuple[str, ...] = ()


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raises a UserError for a file whose suffix says no format of weights."""
    suffix = pathlib.Path(path).suffix
    if suffix not in SUFFIXES:
        raise errors.unknown(f"format of weights {os.fspath(path)!r}:", suffix, SUFFIXES)


def read(path: str | os.PathLike[str]) -> Weights:
    """The weights in a file, of the format that its suffix says.

    Raises:
        UserError: If the file is missing, damaged, of another format, or a pickle of more than
            tensors.
    """
    path = pathlib.Path(path)
    check_suffix(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if path.suffix in _SAFETENSORS:
        return _read_safetensors(path)
    content, noted = torch_zip.load(path)
    tensors, notes = _unwrapped(content, path)
    facts = Facts() if noted is None else factual.from_json(noted, str(path))
    return Weights(tensors, facts, notes)


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], facts: Facts | None = None
) -> None:
    """Writes weights, in the format that the suffix says; the file is there whole or not at all.

    Args:
        path: An existing file is replaced.
        tensors: By name.
        facts: Of the weights; other readers do not see them.

    Raises:
        UserError: If the suffix says no format, or the file cannot be written.
    """
    path = pathlib.Path(path)
    check_suffix(path)
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    noted = None if facts is None else factual.to_json(facts)
    if path.suffix in _SAFETENSORS:
        from safetensors.numpy import save

        # transformers and timm look for the first.
        metadata = {"format": "pt"} if noted is None else {"format": "pt", _METADATA: noted}
        content = save(tensors, metadata=metadata)
    else:
        content = torch_zip.dump(tensors, noted)
    files.write_atomically(path, content)


def _read_safetensors(path: pathlib.Path) -> Weights:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise UserError(f"cannot read {path}: truncated or damaged ({error})") from error
    if _METADATA not in metadata:
        return Weights(tensors)
    return Weights(tensors, factual.from_json(metadata[_METADATA], str(path)))


def _unwrapped(content: Any, path: pathlib.Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    notes = []
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                notes.append(f"took {wrapper!r} of what is in {path}")
                break
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no state dict but {_kind(content)}")
    # Of torch's averaged models; it counts updates.
    tensors = {str(name): value for name, value in content.items() if name != "n_averaged"}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
            notes.append(f"took {prefix!r} off the names in {path}")
    for name, value in tensors.items():
        if not isinstance(value, np.ndarray):
            raise UserError(f"{path} holds no state dict: {name!r} is {_kind(value)} and no tensor")
    return tensors, tuple(notes)


def _kind(value: Any) -> str:
    return "an empty dict" if value == {} else f"of type {type(value).__name__}"
