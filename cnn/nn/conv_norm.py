"""A convolution, a batch norm and an activation: the layer of mobile networks."""

from typing import Any, NamedTuple

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.nn.activation import activation as activation_of
from cnn.nn.batch_norm import BatchNorm, Sync
from cnn.nn.conv import Conv


class Style(NamedTuple):
    """What all layers of a network have in common.

    Attributes:
        activation: Where a layer has none of its own, as in `nn.activation`.
        attention: Of the blocks that have it, as in `nn.attention`.
        momentum: Of batch norm.
        epsilon: Of batch norm.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    activation: str
    attention: str
    momentum: float
    epsilon: float
    sync: Sync
    dtype: DTypeLike


def conv_norm(
    x: Float[Array, "batch height width channels"],
    name: str,
    style: Style,
    *,
    train: bool,
    activation: str = "",
    **conv: Any,
) -> Float[Array, "batch new_height new_width features"]:
    """The layer, as `{name}_conv` and `{name}_norm` of the module whose method calls this.

    Args:
        x: The images.
        name: Where the parameters go.
        style: Of the norm and the computation.
        train: As in `BatchNorm`.
        activation: As in `nn.activation`; empty is none.
        **conv: Fields of `Conv`.
    """
    x = Conv(**conv, dtype=style.dtype, name=f"{name}_conv")(x)
    x = BatchNorm(
        momentum=style.momentum,
        epsilon=style.epsilon,
        sync=style.sync,
        dtype=style.dtype,
        name=f"{name}_norm",
    )(x, train=train)
    return activation_of(activation)(x) if activation else x
