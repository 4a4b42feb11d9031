"""Why a layer differs from another implementation's, found by trying.

All layers before it agree, so it sees what the other's sees; what is changed here, one thing at a
time until the outputs agree, is the layer and what stands directly before it.
"""

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from cnn import nn, ops
from cnn.ops.window import pair

Tensor = Shaped[np.ndarray, "..."]
Candidate = tuple[str, Any]
"""What was changed, and what the layer then computes."""

_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-4, 1e-7, 1e-8, 1e-12)
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "GELU by the tangent": functools.partial(jax.nn.gelu, approximate=True),
    "exact GELU": nn.activation("gelu"),
    "ReLU": nn.activation("relu"),
    "ReLU6": nn.activation("relu6"),
    "SiLU": nn.activation("silu"),
    "hard-swish": nn.activation("hard_swish"),
    "leaky ReLU": nn.activation("leaky_relu"),
    "the tangent": nn.activation("tanh"),
    "the sigmoid": nn.activation("sigmoid"),
    "no activation": lambda x: x,
}
_UNKNOWN = "unknown; its input agrees as far as it was compared"


def find(
    paths: Sequence[str],
    calls: Mapping[str, nn.Call],
    variables: Mapping[str, Any],
    agrees: Callable[[Tensor], bool],
    reference: Tensor | None,
) -> str:
    """What would make a layer agree.

    Args:
        paths: Of the layer; of several that the other has fused, the first is looked at.
        calls: Of the whole network, in the order of the forward pass.
        variables: Of the network.
        agrees: Whether an output is the reference's.
        reference: The reference's output, its axes as ours; None where the shapes differ.
    """
    path, earlier = paths[0], []
    for other, call in calls.items():
        if other == path:
            break
        # Layers alone, since dropout and blocks end with what another layer made.
        arrays = _of_layer(variables, other).get("params", {})
        if any(not isinstance(array, Mapping) for array in arrays.values()):
            earlier.append(call)
    call = calls[path]
    again = functools.partial(_again, call, _of_layer(variables, path))
    if len(paths) == 1:
        for text, output in _candidates(call, again, earlier):
            if agrees(np.asarray(output)):
                return text
    if reference is None:
        return (
            f"the shapes differ: {call.output.shape} here; stride, padding or a pooling before it"
        )
    if call.output.ndim == 4 and _only_border(np.asarray(call.output), reference, agrees):
        return "padding, of it or of a pooling before it: only the border differs"
    return _UNKNOWN


def _candidates(
    call: nn.Call, again: Callable[..., Any], earlier: Sequence[nn.Call]
) -> Iterator[Candidate]:
    yield from _paddings(call, again)
    own = call.fields.get("epsilon")
    if own is not None:
        for epsilon in _EPSILONS:
            if epsilon != own:
                text = f"epsilon: with {epsilon:g} instead of {own:g} it agrees"
                yield text, again(call.inputs, epsilon=epsilon)
    if call.kind is nn.BatchNorm:
        yield (
            "training mode: with the batch's own statistics, as the reference had them, it agrees",
            again(call.inputs, train=True),
        )
    for tried in (_flattened, _activated, _pooled):
        for text, inputs in tried(call, earlier):
            yield text, again(inputs)


def _again(call: nn.Call, variables: Mapping[str, Any], inputs: Any, **changes: Any) -> Any:
    """The layer's output on other inputs, or with other fields."""
    keywords: dict[str, Any] = {}
    if "train" in inspect.signature(call.kind.__call__).parameters:
        keywords = {"train": changes.pop("train", False), "mutable": ["batch_stats"]}
    output = call.kind(**{**call.fields, **changes}).apply(variables, inputs, **keywords)
    return output[0] if keywords else output


def _of_layer(variables: Mapping[str, Any], path: str) -> dict[str, Any]:
    found = {}
    for collection, tree in variables.items():
        for key in path.split("/"):
            tree = tree.get(key, {})
        if tree:
            found[collection] = tree
    return found


def _paddings(call: nn.Call, again: Callable[..., Any]) -> Iterator[Candidate]:
    if call.kind is not nn.Conv:
        return
    size = max(pair(call.fields["kernel_size"]))
    reach = max(pair(call.fields["dilation"])) * (size - 1) + 1
    sides = {(low, low + more) for low in range(reach) for more in (0, 1, -1) if low + more >= 0}
    for low, high in sorted({*sides, (0, reach - 1), (reach - 1, 0)}):
        if min(call.inputs.shape[1:3]) + low + high >= reach:
            text = f"padding: with {low} before and {high} after it agrees"
            yield text, again(call.inputs, padding=((low, high), (low, high)))


def _flattened(
    call: nn.Call, earlier: Sequence[nn.Call]
) -> Iterator[tuple[str, Float[Array, "..."]]]:
    """The input of a dense layer on a map, flattened in another order."""
    shape = call.inputs.shape
    if call.inputs.ndim == 2:
        # Flattened before: the channels are those of the last map, which was square.
        maps = [other.output for other in earlier if other.output.ndim == 4]
        channels = maps[-1].shape[-1] if maps else 1
        side = math.isqrt(shape[1] // channels)
        shape = (shape[0], side, side, channels)
    # A kernel as large as the map leaves one value a feature.
    dense = call.output.shape == (shape[0], *(1,) * (call.output.ndim - 2), call.output.shape[-1])
    if len(shape) != 4 or not dense or math.prod(shape) != call.inputs.size or shape[1:3] == (1, 1):
        return
    batch, height, width, channels = shape
    text = "flatten order: with the map flattened as {} it agrees"
    by_rows = call.inputs.reshape(batch, height, width, channels)
    by_channels = call.inputs.reshape(batch, channels, height, width)
    for order, moved in (
        ("channels, height, width (torch's order)", jnp.transpose(by_rows, (0, 3, 1, 2))),
        ("height, width, channels", jnp.transpose(by_channels, (0, 2, 3, 1))),
    ):
        yield text.format(order), moved.reshape(call.inputs.shape)


def _activated(
    call: nn.Call, earlier: Sequence[nn.Call]
) -> Iterator[tuple[str, Float[Array, "..."]]]:
    """Another activation between the layer and the last one whose output can be its input."""
    fitting = [other for other in earlier if other.output.shape == call.inputs.shape]
    for other in fitting[-1:]:
        for name, activation in _ACTIVATIONS.items():
            yield f"activation: with {name} before it, it agrees", activation(other.output)


def _pooled(
    call: nn.Call, earlier: Sequence[nn.Call]
) -> Iterator[tuple[str, Float[Array, "batch height width channels"]]]:
    """Another padding of the pooling between the layer and the last map of its channels."""
    maps = [z.output for z in earlier if z.output.ndim == call.inputs.ndim == 4]
    larger = [
        z
        for z in maps
        if z.shape[-1] == call.inputs.shape[-1] and z.shape[1] > call.inputs.shape[1]
    ]
    if not larger:
        return
    for size, low, high in itertools.product((3, 2), (0, 1), (0, 1)):
        for kind, pool in (("max", ops.max_pool), ("average", ops.avg_pool)):
            text = f"padding: of the {kind} pooling before it, with {low} before and {high} after"
            for activation in (jax.nn.relu, lambda x: x):
                z = activation(larger[-1])
                yield text, pool(z, size, stride=2, padding=((low, high), (low, high)))


def _only_border(output: Tensor, reference: Tensor, agrees: Callable[[Tensor], bool]) -> bool:
    """Whether the outputs agree once the border is the reference's."""
    # Half of the shorter side at most, or there is no interior to speak of.
    width = min(output.shape[1:3]) // 4
    if width < 1:
        return False
    mended = reference.copy()
    mended[:, width:-width, width:-width] = output[:, width:-width, width:-width]
    return agrees(mended)
