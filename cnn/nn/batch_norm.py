"""Batch normalisation, Ioffe & Szegedy 2015, with torch's bookkeeping."""

import jax.numpy as jnp
from flax import linen
from jax import lax
from jax.nn.initializers import Initializer, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Image = Float[Array, "batch height width channels"]
Vector = Float[Array, " channels"]


class BatchNorm(linen.Module):
    """Normalises each channel by the batch's mean and variance, or by running ones in evaluation.

    As in torch, the batch is normalised by the biased variance and the running variance is
    unbiased; linen's own layer keeps the biased one, which is off by n / (n - 1) and shows in small
    maps. Statistics are float32 whatever the dtype.

    Attributes:
        momentum: Of the running statistics: what is kept at each step (0.9 is torch's 0.1).
        epsilon: Added to the variance.
        axis_name: The mapped axis (of `pmap`) over whose devices the statistics are taken; None
            takes them over the batch that is seen, which under `jit` is the global one.
        scale_init: Initialiser of the scale; zeros make a residual branch start as nothing.
        dtype: Of the output.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    scale_init: Initializer = ones
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> Image:
        """Normalises; with `train` by the batch, whose statistics then move the running ones."""
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var, count = self._moments(x)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self._move(running_mean.value, mean)
                running_var.value = self._move(running_var.value, unbiased)
        gain = scale * lax.rsqrt(var + self.epsilon)
        y = (x - mean.reshape(1, 1, 1, -1)) * gain.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
        return y.astype(self.dtype)

    def _moments(self, x: Image) -> tuple[Vector, Vector, int]:
        """Mean, biased variance and how many values they are of, over all devices."""
        # While parameters are made there is no mapped axis yet.
        axis = None if self.is_initializing() else self.axis_name
        count = x.size // x.shape[-1]
        mean = jnp.mean(x, axis=(0, 1, 2))
        if axis is not None:
            mean = lax.pmean(mean, axis)
            count *= lax.axis_size(axis)
        # E[(x - mean)^2], not E[x^2] - mean^2: the difference of large numbers loses digits.
        var = jnp.mean(jnp.square(x - mean.reshape(1, 1, 1, -1)), axis=(0, 1, 2))
        if axis is not None:
            var = lax.pmean(var, axis)
        return mean, var, count

    def _move(self, running: Vector, batch: Vector) -> Vector:
        return self.momentum * running + (1 - self.momentum) * batch
