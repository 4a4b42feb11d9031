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
        features: Units between the two layers; None is a sixteenth of the channels, the paper's
            reduction, to the nearest multiple of 8 and 8 at least, as timm rounds it.
        activation: Between the layers, as in `nn.activation`.
        gate: After them, as in `nn.activation`.
        dtype: Of the computation.
    """

    features: int | None = None
    activation: str = "relu"
    gate: str = "sigmoid"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch height width channels"]:
        """The weighted channels; `train` changes nothing here."""
        del train

        def dense(features: int, name: str) -> linen.Dense:
            return linen.Dense(features, kernel_init=he_fan_out, dtype=self.dtype, name=name)

        features = self.features or max(8, (x.shape[-1] + 64) // 128 * 8)
        y = jnp.mean(x, axis=(1, 2))
        y = activation(self.activation)(dense(features, "reduce")(y))
        y = activation(self.gate)(dense(x.shape[-1], "expand")(y))
        return x * y[:, None, None, :]
