"""The convolution that doubles a map."""

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import Initializer, variance_scaling, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops


class UpConv(linen.Module):
    """A transposed convolution of 2x2 at stride 2, with bias: torch's `ConvTranspose2d`.

    Each pixel becomes four, which overlap with none else, so it is one product of matrices.

    Attributes:
        features: Channels of the output.
        kernel_init: Initialiser of the kernel.
        bias_init: Initialiser of the bias.
        dtype: Of the computation; parameters are float32.
    """

    features: int
    kernel_init: Initializer = variance_scaling(2.0, "fan_in", "normal", in_axis=-2, out_axis=-1)
    bias_init: Initializer = zeros
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch new_height new_width features"]:
        """The map at twice the size."""
        batch, height, width, channels = x.shape
        shape = (2, 2, channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        # As columns (row, column, feature) of one matrix.
        matrix = kernel.transpose(2, 0, 1, 3).reshape(channels, 4 * self.features)
        y = ops.dense(x.astype(self.dtype), matrix)
        y = y.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
