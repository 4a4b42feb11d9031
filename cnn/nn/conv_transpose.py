"""Transposed convolution with parameters, as generators have it."""

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import Initializer, normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops


class ConvTranspose(linen.Module):
    """A transposed convolution, which makes a map larger; torch's `ConvTranspose2d`.

    Attributes:
        features: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: Pixels between what neighbouring pixels become.
        padding: Taken away on every side.
        output_padding: Rows and columns added below and to the right.
        use_bias: Whether a bias is added.
        kernel_init: Initialiser of the kernel [height, width, features, channels]; by default that
            of Radford et al. 2016, "Unsupervised representation learning with deep convolutional
            generative adversarial networks", section 4.
        bias_init: Initialiser of the bias.
        dtype: Of the computation; parameters are float32.
    """

    features: int
    kernel_size: int
    stride: int = 2
    padding: int = 0
    output_padding: int = 0
    use_bias: bool = False
    kernel_init: Initializer = normal(0.02)
    bias_init: Initializer = zeros
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch new_height new_width features"]:
        """The larger map."""
        shape = (self.kernel_size, self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = ops.conv_transpose(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
        )
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y += bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
