"""The classifier of most convolutional networks: one dense layer on the pooled features."""

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.nn.family import Features


class LinearHead(linen.Module):
    """Dropout and one dense layer.

    Initialised by a normal distribution of deviation 0.01: Goyal et al. 2017, "Accurate, large
    minibatch SGD", section 5.1.

    Attributes:
        num_classes: How many logits.
        dropout_rate: Of the pooled features.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    dropout_rate: float = 0.0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        x = linen.Dropout(self.dropout_rate)(features.pooled, deterministic=not train)
        x = linen.Dense(
            self.num_classes,
            kernel_init=linen.initializers.normal(0.01),
            dtype=self.dtype,
            name="logits",
        )(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
