"""How the weights of DCGAN and what follows it start: near 0, scales of batch norm near 1."""

from typing import Any

import jax.numpy as jnp
from jax.nn.initializers import normal
from jaxtyping import Array, Float

NEAR_ZERO = normal(0.02)
"""Radford et al. 2016, section 4."""


def near_one(
    key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None
) -> Float[Array, "..."]:
    """A deviation of 0.02 around 1, as in PyTorch's example and the code of pix2pix."""
    return 1 + NEAR_ZERO(key, shape, dtype or jnp.float32, out_sharding)
