"""Channel attention and then spatial attention: CBAM, Woo et al. 2018."""

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.nn.batch_norm import WHOLE_BATCH, BatchNorm, Sync
from cnn.nn.conv import Conv, he_fan_out

Image = Float[Array, "batch height width channels"]


class ConvolutionalBlockAttention(linen.Module):
    """Multiplies each channel by one gate, then each pixel by another.

    The channels' gate is two dense layers, shared by the channels' means and maxima (equation 2);
    the pixels' gate a 7x7 convolution of mean and maximum over the channels (equation 3). Batch
    norm before the second gate, which the equations do not have, is from the authors' code; the
    dense layers have no biases, as in the equations.

    Attributes:
        reduction: Channels by units between the dense layers.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    reduction: int = 16
    sync: Sync = WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Image, *, train: bool = False) -> Image:
        """The weighted image."""

        def dense(features: int, name: str) -> linen.Dense:
            return linen.Dense(
                features, use_bias=False, kernel_init=he_fan_out, dtype=self.dtype, name=name
            )

        reduce = dense(max(x.shape[-1] // self.reduction, 1), "channel_reduce")
        expand = dense(x.shape[-1], "channel_expand")
        average, largest = (
            expand(linen.relu(reduce(pool(x, axis=(1, 2))))) for pool in (jnp.mean, jnp.max)
        )
        x = x * linen.sigmoid(average + largest)[:, None, None, :]

        y = jnp.stack([jnp.mean(x, axis=-1), jnp.max(x, axis=-1)], axis=-1)
        y = Conv(1, 7, dtype=self.dtype, name="spatial_conv")(y)
        norm = BatchNorm(sync=self.sync, dtype=self.dtype, name="spatial_norm")
        return x * linen.sigmoid(norm(y, train=train))
