"""Efficient channel attention, Wang et al. 2020, "ECA-Net"."""

import math

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def eca_kernel_size(channels: int) -> int:
    """How many neighbouring channels a gate sees: the paper's equation 12, gamma 2 and b 1.

    Odd, and 3 at least, so that a gate never sees its own channel only.
    """
    size = int((math.log2(channels) + 1) / 2)
    return max(size + (size % 2 == 0), 3)


class EfficientChannelAttention(linen.Module):
    """Multiplies each channel by a gate that a 1-D convolution over the channels' means makes.

    Attributes:
        dtype: Of the computation.
    """

    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch height width channels"]:
        """The weighted channels; `train` changes nothing here."""
        del train
        conv = linen.Conv(
            1,
            (eca_kernel_size(x.shape[-1]),),
            use_bias=False,
            kernel_init=variance_scaling(1 / 3, "fan_in", "uniform"),
            dtype=self.dtype,
            name="conv",
        )
        gate = linen.sigmoid(conv(jnp.mean(x, axis=(1, 2))[..., None]))
        return x * gate[:, None, None, :, 0]
