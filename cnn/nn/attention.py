"""Attention plug-ins of convolutional blocks by name, for fields that a config can set."""

from collections.abc import Callable

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.nn.batch_norm import WHOLE_BATCH, Sync
from cnn.nn.cbam import ConvolutionalBlockAttention
from cnn.nn.eca import EfficientChannelAttention
from cnn.nn.family import choose
from cnn.nn.squeeze_excitation import SqueezeExcitation

Attention = Callable[..., Float[Array, "batch height width channels"]]


def attention(
    kind: str,
    *,
    squeezed: int | None = None,
    activation: str = "relu",
    gate: str = "sigmoid",
    sync: Sync = WHOLE_BATCH,
    dtype: DTypeLike = "float32",
    name: str = "attention",
) -> Attention:
    """What weights a map by what it shows: a submodule of the module that calls.

    Called as `attention(x, train=train)`; the shape stays.

    Args:
        kind: `se` (squeeze-and-excitation), `eca`, `cbam`, or `none`, which is the identity.
        squeezed: Units between the two layers of `se`; None is its own rule.
        activation: Of `se`, as in `nn.activation`.
        gate: Of `se`, as in `nn.activation`.
        sync: Of the batch norm in `cbam`.
        dtype: Of the computation.
        name: Of the submodule; `none` has no parameters.

    Raises:
        UserError: If there is no such kind.
    """

    def squeeze_excitation() -> Attention:
        return SqueezeExcitation(squeezed, activation=activation, gate=gate, dtype=dtype, name=name)

    def efficient_channel() -> Attention:
        return EfficientChannelAttention(dtype=dtype, name=name)

    def convolutional_block() -> Attention:
        return ConvolutionalBlockAttention(sync=sync, dtype=dtype, name=name)

    # Made by a function each, since a linen module registers with its parent when it is made.
    make = {
        "none": lambda: _identity,
        "se": squeeze_excitation,
        "eca": efficient_channel,
        "cbam": convolutional_block,
    }
    return choose("attention", kind, make)()


def _identity(
    x: Float[Array, "batch height width channels"], *, train: bool = False
) -> Float[Array, "batch height width channels"]:
    del train
    return x
