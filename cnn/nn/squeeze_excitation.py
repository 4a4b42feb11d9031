"""Squeeze-and-excitation, Hu, Shen & Sun 2018: channels weighted by what the whole image shows."""

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.nn.activation import activation
from cnn.nn.conv import he_fan_out


class SqueezeExcitation(linen.Module):
    """Multiplies each channel by a gate that two dense layers make of the channels' means.

    Attributes:
        features: Units between the two layers: the channels by the paper's reduction ratio.
        activation: Between the layers, as in `nn.activation`.
        gate: After them, as in `nn.activation`.
        dtype: Of the computation.
    """

    features: int
    activation: str = "relu"
    gate: str = "sigmoid"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        """The weighted channels."""

        def dense(features: int, name: str) -> linen.Dense:
            return linen.Dense(features, kernel_init=he_fan_out, dtype=self.dtype, name=name)

        y = jnp.mean(x, axis=(1, 2))
        y = activation(self.activation)(dense(self.features, "reduce")(y))
        y = activation(self.gate)(dense(x.shape[-1], "expand")(y))
        return x * y[:, None, None, :]
