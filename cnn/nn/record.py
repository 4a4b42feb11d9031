"""What goes into each layer of a network and what comes out of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import linen
from jaxtyping import Array, Float


class Call(NamedTuple):
    """One layer at work.

    Attributes:
        kind: Class of the layer.
        fields: Of the layer, by name.
        inputs: Its first argument.
        output: What it made of that.
    """

    kind: type[linen.Module]
    fields: Mapping[str, Any]
    inputs: Float[Array, "..."]
    output: Float[Array, "..."]


def record(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Float[Array, "batch height width channels"],
) -> dict[str, Call]:
    """The first call of each layer that has an array in and one out, in evaluation.

    By the layer's path, keys joined by "/", in the order in which they finished.
    """
    layers: dict[str, tuple[type[linen.Module], dict[str, Any]]] = {}

    def run(
        variables: Mapping[str, Any], images: Float[Array, "batch height width channels"]
    ) -> dict[str, tuple[Any, Any]]:
        arrays: dict[str, tuple[Any, Any]] = {}

        def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = call(*args, **kwargs)
            module, path = context.module, "/".join(context.module.path)
            pair = (args[0] if args else None, output)
            if (
                context.method_name == "__call__"
                and path not in arrays
                and all(isinstance(x, jax.Array) for x in pair)
            ):
                names = {field.name for field in dataclasses.fields(module)} - {"parent", "name"}
                layers[path] = type(module), {name: getattr(module, name) for name in names}
                arrays[path] = pair
            return output

        with linen.intercept_methods(keep):
            model.apply(variables, images)
        return arrays

    arrays = jax.jit(run)(variables, images)
    return {path: Call(*layers[path], *arrays[path]) for path in layers}
