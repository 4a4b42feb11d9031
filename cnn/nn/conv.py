"""Convolution with parameters."""

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import Initializer, variance_scaling, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops
from cnn.ops.window import pair

he_fan_out = variance_scaling(2.0, "fan_out", "normal")
"""He et al. 2015, "Delving deep into rectifiers", equation 14: keeps the variance of gradients."""


class Conv(linen.Module):
    """A convolution; by default without bias, and keeping the image's size at stride 1.

    Attributes:
        features: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: Pixels between neighbouring outputs.
        padding: Zeros outside; None is half the (dilated) kernel on every side.
        dilation: Pixels between neighbouring taps.
        groups: Parts of the channels that do not see each other.
        use_bias: Whether a bias is added.
        kernel_init: Initialiser of the kernel.
        bias_init: Initialiser of the bias.
        dtype: Of the computation; parameters are float32.
    """

    features: int
    kernel_size: ops.Pair
    stride: ops.Pair = 1
    padding: ops.Padding | None = None
    dilation: ops.Pair = 1
    groups: int = 1
    use_bias: bool = False
    kernel_init: Initializer = he_fan_out
    bias_init: Initializer = zeros
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch new_height new_width features"]:
        """Convolves the images."""
        height, width = pair(self.kernel_size)
        shape = (height, width, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        padding = self.padding
        if padding is None:
            rows, columns = pair(self.dilation)
            padding = (rows * (height - 1) // 2, columns * (width - 1) // 2)
        y = ops.conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y += bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
