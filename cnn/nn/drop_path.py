"""Stochastic depth: whole residual branches dropped at random, Huang et al. 2016."""

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float


def rising_rates(rate: float, depth: int) -> tuple[float, ...]:
    """The rate of each of `depth` branches: linear from 0 for the first to `rate` for the last."""
    return tuple(rate * index / max(depth - 1, 1) for index in range(depth))


class DropPath(linen.Module):
    """Drops the branch of each example with probability `rate`, and scales the others up for it.

    Attributes:
        rate: Probability in [0, 1); 0 is the identity, and needs no random numbers.
    """

    rate: float

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch *rest"], *, train: bool
    ) -> Float[Array, "batch *rest"]:
        """The branch, zero for the dropped examples; unchanged without `train`."""
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0], *(1 for _ in x.shape[1:]))
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(kept, x / keep, jnp.zeros_like(x))
