"""What the last layer of a classifier sees: the features that are evaluated frozen."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

from cnn.errors import UserError

LAST_LAYER = ("head", "logits")
"""In every family; see `cnn.models`."""


def penultimate(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch features"]:
    """The float32 inputs of `head/logits` in evaluation.

    Pooled maps of a ResNet, normalised ones of a ConvNeXt, the class token of a ViT, the last
    hidden layer of LeNet-5, AlexNet and VGG.

    Raises:
        UserError: If the network has no such layer, as `lenet5_1998`.
    """
    seen: list[Any] = []

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == LAST_LAYER and context.method_name == "__call__":
            seen.append(args[0])
        return call(*args, **kwargs)

    with linen.intercept_methods(keep):
        model.apply(variables, images, train=False)
    if not seen:
        raise UserError(
            "this network has no features: no linear layer head/logits whose inputs they would be"
        )
    return seen[0].reshape(len(images), -1).astype(jnp.float32)
