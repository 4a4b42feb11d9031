"""The fully connected layer of transformers and of what is built like them."""

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import Initializer, lecun_normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops


class Dense(linen.Module):
    """linen's layer, with the product that is chosen by backend.

    Attributes:
        features: Of the output.
        use_bias: Whether a bias is added.
        kernel_init: Initialiser of the kernel.
        bias_init: Initialiser of the bias.
        dtype: Of the computation; parameters are float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The product with the kernel, and the bias."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        if not self.use_bias:
            return ops.dense(x.astype(self.dtype), kernel)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return ops.dense(x.astype(self.dtype), kernel, bias.astype(self.dtype))
