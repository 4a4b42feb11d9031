"""Where the arrays of a state lie on a mesh: by their path and shape, whatever the task.

A path is that of the parameter within the state, `params/backbone/block0/expand/kernel`; what an
optimizer or a moving average keeps of it has the same end, and so lies where the parameter does.
First come the rules, the first that matches: a regular expression for the end of a path, and an
axis for each dimension. Then `fsdp` cuts the largest dimension that it divides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from cnn.errors import UserError, unknown

AXES = ("data", "fsdp", "model")
"""The axes of a mesh: a batch is cut over the first two, the state over the last two."""

SHARD_MIN_SIZE = 16_384
"""Elements: to gather a smaller array costs more than its memory is worth."""

Cut: TypeAlias = tuple[str | None, ...]
"""The axis that cuts each dimension; None leaves it whole."""

# Megatron's pairs (Shoeybi et al. 2019, section 3): the first layer of two is cut by its outputs,
# the second by its inputs, so that there is one sum over devices behind them.
TENSOR_PARALLEL: tuple[tuple[str, Cut], ...] = (
    # ViT: whole heads, where their number divides.
    (r"block\d+/attention/(query|key|value)/kernel", (None, "model")),
    (r"block\d+/attention/(query|key|value)/bias", ("model",)),
    (r"block\d+/attention/out/kernel", ("model", None)),
    # ViT and ConvNeXt, and both kinds of Mixer.
    (r"block\d+/((token|channel)_)?expand/kernel", (None, "model")),
    (r"block\d+/((token|channel)_)?expand/bias", ("model",)),
    (r"block\d+/((token|channel)_)?project/kernel", ("model", None)),
    # ConvNeXt V2: between the two.
    (r"block\d+/response_norm/(scale|bias)", ("model",)),
)
"""How `model` cuts the families that have such pairs; it leaves the others whole."""


def mesh_shape(text: str, num_devices: int) -> dict[str, int]:
    """The length of each axis.

    Args:
        text: "AXIS:LENGTH,...", for instance "data:4,fsdp:2". An axis that is not named has length
            1, but for `data`, which has the rest of the devices.
        num_devices: Their product.

    Raises:
        UserError: If an axis is unknown or named twice, or the product is another.
    """
    shape: dict[str, int] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        axis, _, length = part.partition(":")
        if axis not in AXES:
            raise unknown("axis of parallel.mesh", axis, AXES)
        if axis in shape or not length.isdecimal() or int(length) < 1:
            raise UserError(
                f"parallel.mesh is {text!r}, which cannot be read at {part!r}; it names axes once, "
                "with a length of at least 1, for instance 'data:4,fsdp:2'"
            )
        shape[axis] = int(length)
    rest = num_devices // int(np.prod([shape.get("fsdp", 1), shape.get("model", 1)]))
    shape.setdefault("data", rest)
    whole = {axis: shape.get(axis, 1) for axis in AXES}
    if int(np.prod([*whole.values()])) != num_devices:
        raise UserError(
            f"parallel.mesh is {text!r}, which is no mesh of {num_devices} devices: the product of "
            "all lengths must be their number (data may be left out, it takes the rest)"
        )
    return whole


def read_rule(text: str) -> tuple[str, Cut]:
    """The rule "REGEX=AXIS,..." where `-` leaves a dimension whole: "logits/kernel=-,model".

    Raises:
        UserError: If that is no regular expression, or an axis is unknown.
    """
    pattern, separator, axes = text.rpartition("=")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"parallel.rules: {pattern!r} is no regular expression: {error}") from error
    cut = tuple(None if axis == "-" else axis for axis in axes.replace(" ", "").split(","))
    if not separator or not pattern:
        raise UserError(
            f"parallel.rules: {text!r} is no rule; one is REGEX=AXIS,... with an axis or - for "
            "each dimension, for instance 'logits/kernel=fsdp,model'"
        )
    for axis in cut:
        if axis is not None and axis not in AXES[1:]:
            raise unknown("axis of parallel.rules", axis, (*AXES[1:], "-"))
    return pattern, cut


class Layout(NamedTuple):
    """The mesh, and what cuts a state on it.

    Attributes:
        mesh: Of the axes `AXES`.
        rules: Of the user: what they say of an array is all that is done to it.
        min_size: Arrays of fewer elements are not cut by `fsdp`.
    """

    mesh: Mesh
    rules: tuple[tuple[str, Cut], ...]
    min_size: int

    def cut(self, path: str, shape: Sequence[int]) -> Cut:
        """The axis of each dimension; what an axis does not divide stays whole.

        Args:
            path: Names from the root of the state, with `/` between them.
            shape: Of the array.
        """
        own = _first(self.rules, path, shape)
        if own is not None:
            return self._dividing(own, shape)
        cut = self._dividing(_first(TENSOR_PARALLEL, path, shape) or (None,) * len(shape), shape)
        count = self.mesh.shape["fsdp"]
        fitting = [
            size if axis is None and size % count == 0 else 0
            for size, axis in zip(shape, cut, strict=True)
        ]
        if count == 1 or np.prod(shape) < self.min_size or not any(fitting):
            return cut
        # Of equals the last: the outputs of a layer.
        largest = max(range(len(shape)), key=lambda at: (fitting[at], at))
        return tuple("fsdp" if at == largest else axis for at, axis in enumerate(cut))

    def _dividing(self, cut: Cut, shape: Sequence[int]) -> Cut:
        sizes = self.mesh.shape
        return tuple(
            axis if axis is not None and sizes[axis] > 1 and size % sizes[axis] == 0 else None
            for size, axis in zip(shape, cut, strict=True)
        )

    def shardings(self, tree: PyTree) -> PyTree:
        """Where each array of a state lies between steps."""
        return jax.tree_util.tree_map_with_path(lambda path, x: self._sharding(path, x), tree)

    def spread(self, tree: PyTree) -> PyTree:
        """Inside a program: the arrays as they lie between steps."""
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

    def gather(self, tree: PyTree) -> PyTree:
        """Inside a program: the arrays as layers want them, whole but for the axis `model`.

        Its transpose sums gradients over the devices, of which each keeps its part: so the compiler
        moves parameters and gradients, and never what layers pass on to each other.
        """
        shardings = jax.tree_util.tree_map_with_path(
            lambda path, x: self._sharding(path, x, without="fsdp"), tree
        )
        return jax.lax.with_sharding_constraint(self.spread(tree), shardings)

    def _sharding(self, path: Any, x: Any, without: str = "") -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        cut = [None if axis == without else axis for axis in self.cut(name, x.shape)]
        while cut and cut[-1] is None:
            cut.pop()
        return NamedSharding(self.mesh, PartitionSpec(*cut))


def make_layout(
    devices: Sequence[Any], mesh: str, rules: Sequence[str], shard_min_size: int
) -> Layout:
    """The layout of a section `parallel` over these devices.

    Raises:
        UserError: As `mesh_shape` and `read_rule`, or for a negative size.
    """
    if shard_min_size < 0:
        raise UserError(f"parallel.shard_min_size must be at least 0, got {shard_min_size}")
    shape = mesh_shape(mesh, len(devices))
    # A process reads a contiguous part of each batch, and the innermost axis talks most.
    ordered = sorted(devices, key=lambda device: device.process_index)
    made = Mesh(
        np.asarray(ordered).reshape(*shape.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES)
    )
    return Layout(made, tuple(map(read_rule, rules)), shard_min_size)


def _first(rules: Sequence[tuple[str, Cut]], path: str, shape: Sequence[int]) -> Cut | None:
    """What the first rule says that matches the end of the path and has as many dimensions."""
    for pattern, cut in rules:
        if len(cut) == len(shape) and re.search(f"(?:{pattern})$", path):
            return cut
    return None
