"""Our layers against another implementation's, one after another: the first that differs, and why.

The other's outputs come as an `.npz`: `input`, the images as they went in, and one array for each
layer by its torch name (`layer1.0.conv1`) or by our path (`backbone/conv2`). Axes may lie as
torch's or as ours.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from cnn import nn, pretrained
from cnn.errors import UserError
from cnn.pretrained import reasons
from cnn.pretrained.layout import Path
from cnn.pretrained.network import Network

Tensor = Shaped[np.ndarray, "..."]

TOLERANCE = 1e-5
"""Of the largest error by the largest value; float32 keeps ten times less through 100 layers."""

_LEAVES = ("weight", "bias")


class Layer(NamedTuple):
    """A layer with parameters.

    Attributes:
        paths: Of ours; several where the other has them fused.
        name: Of the other's.
    """

    paths: tuple[str, ...]
    name: str


class Outcome(NamedTuple):
    """How far two networks agree.

    Attributes:
        errors: Of the layers that agree, in order: largest error by largest value.
        absent: Names of layers that the reference lacks.
        first: The first layer that differs; None where none does.
        error: Its error; infinite where the shapes differ.
        reason: Why it probably differs.
    """

    errors: Mapping[str, float]
    absent: tuple[str, ...]
    first: Layer | None = None
    error: float = 0.0
    reason: str = ""


def read_reference(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The arrays of a reference.

    Raises:
        UserError: If the file is missing, damaged, or without `input`.
    """
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with pathlib.Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    # What a damaged file makes NumPy raise is not to be foreseen.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read {path}: no .npz, or damaged ({reason})") from error
    if "input" not in arrays or arrays["input"].ndim != 4:
        raise UserError(f"{path} has no array 'input' of four axes, the images that went in")
    return arrays


def compare(
    network: Network, reference: Mapping[str, Tensor], tolerance: float = TOLERANCE
) -> Outcome:
    """The network's layers against a reference's, in the order of the forward pass.

    Raises:
        UserError: If the reference has none of the network's layers, or the images do not fit.
    """
    images = np.asarray(reference["input"], np.float32)
    if images.shape[1] == network.channels:
        images = images.transpose(0, 2, 3, 1)
    if images.shape[3] != network.channels:
        raise UserError(
            f"the reference's input has shape {reference['input'].shape}, and {network.name} takes "
            f"images of {network.channels} channels"
        )
    calls = nn.record(network.model(), network.variables, jnp.asarray(images))
    # Auxiliary classifiers have no calls in evaluation.
    layers = [
        layer
        for layer in layers_of(network, reference)
        if all(path in calls for path in layer.paths)
    ]
    found, errors = [layer for layer in layers if layer.name in reference], {}
    if not found:
        known = [name for name in reference if name != "input"]
        raise UserError(
            f"the reference has none of the layers of {network.name}: it begins with {known[:3]}, "
            f"and they with {[layer.name for layer in layers[:3]]}"
        )
    absent = tuple(layer.name for layer in layers if layer.name not in reference)
    for layer in found:
        output = np.concatenate([calls[path].output for path in layer.paths], axis=-1)
        error = error_of(output, reference[layer.name])
        if error > tolerance:

            def agrees(other: Tensor, layer: Layer = layer) -> bool:
                return error_of(other, reference[layer.name]) <= tolerance

            closest = nearest(output, reference[layer.name])
            reason = reasons.find(layer.paths, calls, network.variables, agrees, closest)
            return Outcome(errors, absent, layer, error, reason)
        errors["/".join(layer.paths)] = error
    return Outcome(errors, absent)


def layers_of(network: Network, names: Collection[str]) -> list[Layer]:
    """The layers with parameters, by the library's names that there are most of among `names`."""
    fields = network.fields
    paths = pretrained.check(network.name, network.variables, **fields)
    tables = [_named(paths, lambda path: "/".join(path[:-1]))]
    for layout in pretrained.layouts_of(network.name, **fields).values():

        def module(path: Path, layout: pretrained.Layout = layout) -> str:
            name, _, leaf = layout(path).name.rpartition(".")
            return name if leaf in _LEAVES else ""

        tables.append(_named(paths, module))
    return max(tables, key=lambda table: sum(layer.name in names for layer in table))


def error_of(output: Tensor, reference: Tensor) -> float:
    """The largest error by the largest value; infinite where the shapes do not fit."""
    closest = nearest(output, reference)
    return np.inf if closest is None else _error(output, closest)


def nearest(output: Tensor, reference: Tensor) -> Tensor | None:
    """The reference with its axes as the output has them; None where the shapes do not fit."""
    fitting = list(_arranged(output.shape, np.asarray(reference)))
    return min(fitting, key=lambda array: _error(output, array), default=None)


def _named(paths: Mapping[Path, Tensor], name_of: Callable[[Path], str]) -> list[Layer]:
    grouped: dict[str, list[str]] = {}
    for path in paths:
        name, layer = name_of(path[1:]), "/".join(path[1:-1])
        if path[0] == "params" and name and layer not in grouped.setdefault(name, []):
            grouped[name].append(layer)
    return [Layer(tuple(layers), name) for name, layers in grouped.items()]


def _arranged(shape: tuple[int, ...], reference: Tensor) -> Iterator[Tensor]:
    while reference.ndim > len(shape) and reference.shape[-1] == 1:
        reference = reference[..., 0]
    if reference.ndim == len(shape):
        for axes in itertools.permutations(range(1, len(shape))):
            if reference.transpose(0, *axes).shape == shape:
                yield reference.transpose(0, *axes)


def _error(output: Tensor, reference: Tensor) -> float:
    scale = np.max(np.abs(reference), initial=0.0) or 1.0
    error = np.max(np.abs(np.asarray(output, np.float64) - reference), initial=0.0) / scale
    return float(error) if np.isfinite(error) else np.inf
