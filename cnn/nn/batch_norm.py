"""Batch normalisation, Ioffe & Szegedy 2015, with torch's bookkeeping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax
from jax.nn.initializers import Initializer, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops

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
        # The sum of squares is exact enough for what was rounded before, see `_variance`.
        one_pass = jnp.finfo(x.dtype).bits < 32
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        if not train:
            gain = scale * lax.rsqrt(running_var.value + self.epsilon)
            y = (x - _spread(running_mean.value)) * _spread(gain) + _spread(bias)
            return y.astype(self.dtype)
        # While parameters are made there is no mapped axis yet.
        axis_name = None if self.is_initializing() else self.axis_name
        y, mean, var = _normalise(self.epsilon, axis_name, one_pass, x, scale, bias)
        if not self.is_initializing():
            devices = 1 if axis_name is None else lax.axis_size(axis_name)
            count = devices * x.size // x.shape[-1]
            running_mean.value = self._move(running_mean.value, mean)
            running_var.value = self._move(running_var.value, var * (count / max(count - 1, 1)))
        return y.astype(self.dtype)

    def _move(self, running: Vector, batch: Vector) -> Vector:
        return self.momentum * running + (1 - self.momentum) * batch


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _normalise(
    epsilon: float, axis_name: str | None, one_pass: bool, x: Image, scale: Vector, bias: Vector
) -> tuple[Image, Vector, Vector]:
    """The image normalised by its own statistics; mean and biased variance over all devices."""
    y, mean, var, _, _ = _normalised(epsilon, axis_name, one_pass, x, scale, bias)
    return y, mean, var


@_normalise.defjvp
def _normalise_jvp(
    epsilon: float,
    axis_name: str | None,
    one_pass: bool,
    primals: tuple[Image, Vector, Vector],
    tangents: tuple[Image, Vector, Vector],
) -> tuple[tuple[Image, Vector, Vector], tuple[Image, Vector, Vector]]:
    """The derivative with as few sums over the image as there are: two, also transposed.

    JAX's own has five, since it does not see that the mean of what is centred is zero.
    """
    x, scale, bias = primals
    dx, dscale, dbias = tangents
    y, mean, var, centred, inverse = _normalised(epsilon, axis_name, one_pass, x, scale, bias)
    gain = scale * inverse
    dmean = _average(dx, axis_name)
    covariance = _average(centred * dx, axis_name)
    dy = (
        dx * _spread(gain)
        + _spread(dbias - gain * dmean)
        + centred * _spread(inverse * dscale - gain * jnp.square(inverse) * covariance)
    )
    return (y, mean, var), (dy, dmean, 2 * covariance)


def _normalised(
    epsilon: float, axis_name: str | None, one_pass: bool, x: Image, scale: Vector, bias: Vector
) -> tuple[Image, Vector, Vector, Image, Vector]:
    """Normalised image, mean, variance, centred image and inverse standard deviation."""
    mean = _average(x, axis_name)
    # It serves the variance, the result and the derivative.
    centred = ops.hold(x - _spread(mean))
    var = _variance(axis_name, one_pass, x, mean, centred)
    inverse = lax.rsqrt(var + epsilon)
    return centred * _spread(scale * inverse) + _spread(bias), mean, var, centred, inverse


def _variance(
    axis_name: str | None, one_pass: bool, x: Image, mean: Vector, centred: Image
) -> Vector:
    """The biased variance, in a pass of its own over the image or in that of the mean.

    E[x^2] - mean^2 loses digits as the difference of large numbers: some 2^-24 of mean^2. Where x
    was rounded to bfloat16 its own rounding is a variance of 2^-20 mean^2 at least, so nothing is
    lost that was there; and the sums come with the convolution that writes x, which an accelerator
    then reads once less.
    """
    if one_pass:
        return jnp.maximum(_average(jnp.square(x), axis_name) - jnp.square(mean), 0)
    return _average(jnp.square(centred), axis_name)


def _average(x: Image, axis_name: str | None) -> Vector:
    mean = jnp.mean(x, axis=(0, 1, 2))
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _spread(values: Vector | Float[np.ndarray, " channels"]) -> Float[Array, "1 1 1 channels"]:
    return jnp.asarray(values).reshape(1, 1, 1, -1)
