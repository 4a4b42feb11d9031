"""How arrays of torch and ours differ: what every family's conversion is made of.

A family says only how the *names* go: path of ours -> name in torch. All else follows from the
shapes of our network: kernels are transposed, arrays of ours that go to one name are one fused
tensor, and no tensor may be missing or left over.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from cnn.errors import UserError

Path = tuple[str, ...]
"""Keys down to an array, `params` or `batch_stats` first."""

Tensor = Shaped[np.ndarray, "..."]
StateDict = Mapping[str, Tensor]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""What torch calls the arrays of a layer."""

_DIGITS = re.compile(r"\d+")
_COUNTER = "num_batches_tracked"


class Target(NamedTuple):
    """Where an array of ours goes.

    Attributes:
        name: Of the tensor. Arrays that go to the same one are parts of it, in order, along its
            first axis.
        trailing: Axes of size 1 that torch has at the end and we do not.
        flat: Whether torch has one axis where the kernel of ours has height, width and channels:
            that of a dense layer on a map. torch flattens channels first.
        leading: Axes of size 1 that torch has at the front and we do not.
        swapped: Whether torch has the inputs before the outputs: in a transposed convolution.
    """

    name: str
    trailing: int = 0
    flat: bool = False
    leading: int = 0
    swapped: bool = False


Layout = Callable[[Path], Target]
"""One library's names for the arrays of a family, by their paths without the collection."""


class Part(NamedTuple):
    """One tensor of torch and the arrays of ours that it is made of."""

    name: str
    trailing: int
    flat: bool
    leading: int
    swapped: bool
    paths: tuple[Path, ...]


def layout_of(
    names: Mapping[str, str | Callable[..., str]],
    *,
    trailing: Mapping[str, int] | None = None,
    flat: Collection[str] = (),
    leading: Mapping[str, int] | None = None,
    swapped: Collection[str] = (),
) -> Layout:
    """The layout that a table of names makes.

    Args:
        names: By layer, its path with "/" between keys and without the numbers in them: the
            beginning of the name in torch, up to the name of the array (`weight`, `bias`, ...);
            or a function of the numbers that gives it. An array that is not called as torch's
            layers call theirs stands by its own path and whole name. The layout raises `UserError`
            for a layer that is not here.
        trailing: By array, its path as above: axes of size 1 that torch has at the end.
        flat: Kernels, by path as above, that torch has flattened where they are on maps.
        leading: As `trailing`, for the front.
        swapped: Kernels, by path as above, of transposed convolutions.
    """

    def layout(path: Path) -> Target:
        array, layer = (_DIGITS.sub("", "/".join(keys)) for keys in (path, path[:-1]))
        known = names.get(array), ""
        name, leaf = known if array in names else (names.get(layer), _LEAVES.get(path[-1], ""))
        if name is None:
            whole = "/".join(path[:-1] if path[-1] in _LEAVES else path)
            raise UserError(f"torch has no counterpart of {whole!r}: undo the override behind it")
        if not isinstance(name, str):
            name = name(*map(int, _DIGITS.findall("/".join(path))))
        before, after = ((axes or {}).get(array, 0) for axes in (leading, trailing))
        return Target(name + leaf, after, array in flat, before, array in swapped)

    return layout


def parts(layout: Layout, paths: Iterable[Path]) -> list[Part]:
    """The tensors that a network's arrays make, in the order of their first arrays."""
    grouped: dict[Target, list[Path]] = {}
    for path in paths:
        grouped.setdefault(layout(path[1:]), []).append(path)
    return [Part(*target, tuple(paths)) for target, paths in grouped.items()]


def paths_of(tree: Mapping[str, Any]) -> dict[Path, Any]:
    """The leaves of nested dicts by path, in the order of the dicts."""
    return dict(_walk(tree, ()))


def _walk(tree: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _walk(value, (*path, key))
        else:
            yield (*path, key), value


def nested(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """The inverse of `paths_of`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree


def read(
    state_dict: StateDict, layout: Layout, shapes: Mapping[Path, tuple[int, ...]]
) -> dict[Path, Tensor]:
    """Our arrays from torch's, by path.

    Args:
        state_dict: Tensors by name. A batch norm's counter of batches is accepted and left out.
        layout: The names.
        shapes: Of every array of the network.

    Raises:
        UserError: If a tensor is missing, left over or of another shape; names the first such.
    """
    arrays: dict[Path, Tensor] = {}
    expected = parts(layout, shapes)
    left = [name for name in state_dict if not name.endswith(_COUNTER)]
    for part in expected:
        if part.name not in state_dict:
            raise UserError(f"the state dict lacks {part.name!r}{_first_of(left)}")
        arrays.update(_split(part, np.asarray(state_dict[part.name]), shapes))
    known = {part.name for part in expected}
    for name in left:
        if name not in known:
            raise UserError(f"the state dict has {name!r}, which this network has not")
    return arrays


def write(
    arrays: Mapping[Path, Tensor],
    layout: Layout,
    counters: Mapping[Path, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Torch's tensors from our arrays, by name.

    Args:
        arrays: By path.
        layout: The names.
        counters: A batch norm's counter of batches by the path of its variance, where there is to
            be one; None gives each a 0.
    """
    tensors: dict[str, Tensor] = {}
    for part in parts(layout, arrays):
        pieces = [_to_torch(part, path, arrays[path]) for path in part.paths]
        tensor = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        tensors[part.name] = tensor.reshape(_in_torch(part, tensor.shape))
        counter = _counter(part.name)
        if counter and counters is None:
            tensors[counter] = np.zeros((), np.int64)
        elif counter and part.paths[0] in (counters or {}):
            tensors[counter] = (counters or {})[part.paths[0]]
    return tensors


def counters(state_dict: StateDict, paths: Iterable[Path], layout: Layout) -> dict[Path, Tensor]:
    """The counters of batches that a state dict has, by the path of the variance beside them."""
    named = {path: _counter(layout(path[1:]).name) for path in paths}
    return {path: state_dict[name] for path, name in named.items() if name in state_dict}


def _counter(name: str) -> str:
    """The counter beside a running variance; "" beside any other tensor."""
    module, _, leaf = name.rpartition(".")
    return f"{module}.{_COUNTER}" if leaf == _LEAVES["var"] else ""


def shape_in_ours(path: Path, tensor: Tensor, *, swapped: bool = False) -> tuple[int, ...] | None:
    """The shape that an unfused tensor has on our side; None where it has too few axes."""
    shape = np.shape(tensor)
    if path[-1] != "kernel":
        return shape
    if not shape[1:]:
        return None
    return tuple(shape[axis] for axis in _inverse(_order(path, len(shape), swapped)))


def _split(
    part: Part, tensor: Tensor, shapes: Mapping[Path, tuple[int, ...]]
) -> Iterator[tuple[Path, Tensor]]:
    pieces = [
        tuple(shapes[path][axis] for axis in _order(path, len(shapes[path]), part.swapped))
        for path in part.paths
    ]
    whole = (sum(piece[0] for piece in pieces), *pieces[0][1:])
    expected = _in_torch(part, whole)
    if tensor.shape != expected:
        raise UserError(
            f"{part.name!r} has shape {tensor.shape} in the state dict, and {expected} in this"
            " network"
        )
    ends = np.cumsum([piece[0] for piece in pieces])[:-1]
    for path, piece in zip(part.paths, np.split(tensor.reshape(whole), ends), strict=True):
        order = _inverse(_order(path, piece.ndim, part.swapped))
        yield path, np.ascontiguousarray(piece.transpose(order))


def _to_torch(part: Part, path: Path, array: Tensor) -> Tensor:
    order = _order(path, np.ndim(array), part.swapped)
    return np.ascontiguousarray(np.asarray(array).transpose(order))


def _in_torch(part: Part, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The tensor's shape in torch, from that of the transposed and joined arrays."""
    if part.flat and len(shape) > 1:
        shape = (shape[0], math.prod(shape[1:]))
    return (*(1,) * part.leading, *shape, *(1,) * part.trailing)


def _order(path: Path, rank: int, swapped: bool) -> tuple[int, ...]:
    """Our axes in torch's order: HWIO -> OIHW, LIO -> OIL, (in, out) -> (out, in)."""
    if path[-1] == "kernel":
        last = (rank - 2, rank - 1) if swapped else (rank - 1, rank - 2)
        return (*last, *range(rank - 2))
    return tuple(range(rank))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.argsort(order))


def _first_of(names: Sequence[str]) -> str:
    return f" (it begins with {names[0]!r})" if names else " (it is empty)"
