"""Layer normalisation, Ba, Kiros & Hinton 2016, as ConvNeXt, ViT and Mixer have it."""

import functools

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax
from jax.nn.initializers import ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops

Rows = Float[Array, "*rows features"]
Each = Float[Array, "*rows 1"]
Vector = Float[Array, " features"]


class LayerNorm(linen.Module):
    """Normalises each row of features by its own mean and variance, then scales and moves it.

    Parameters and numbers are those of linen's layer without its fast variance E[x^2] - E[x]^2,
    which loses digits that the gradients of deep networks then lack. Computed in float32 at least.

    Attributes:
        epsilon: Added to the variance: 1e-6 in these networks, where torch's default is 1e-5.
        dtype: Of the output.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Rows) -> Rows:
        """Normalises."""
        shape = x.shape[-1:]
        scale = self.param("scale", ones, shape, jnp.float32)
        bias = self.param("bias", zeros, shape, jnp.float32)
        x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
        y = _normalise(self.epsilon, x, jnp.asarray(scale), jnp.asarray(bias))
        return y.astype(self.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _normalise(epsilon: float, x: Rows, scale: Vector, bias: Vector) -> Rows:
    normal, _ = _normalised(epsilon, x)
    return normal * _across(scale, x) + _across(bias, x)


@_normalise.defjvp
def _normalise_jvp(
    epsilon: float, primals: tuple[Rows, Vector, Vector], tangents: tuple[Rows, Vector, Vector]
) -> tuple[Rows, Rows]:
    """The derivative with two sums over each row, also transposed; JAX's own has four."""
    x, scale, bias = primals
    dx, dscale, dbias = tangents
    normal, inverse = _normalised(epsilon, x)
    dnormal = inverse * (dx - _mean(dx) - normal * _mean(normal * dx))
    dy = dnormal * _across(scale, x) + normal * _across(dscale, x) + _across(dbias, x)
    return normal * _across(scale, x) + _across(bias, x), dy


def _normalised(epsilon: float, x: Rows) -> tuple[Rows, Each]:
    """Each row with mean 0 and variance 1, and the inverse of its standard deviation."""
    centred = x - _mean(x)
    inverse = lax.rsqrt(_mean(jnp.square(centred)) + epsilon)
    return ops.hold(centred * inverse), inverse


def _mean(x: Rows) -> Each:
    return jnp.mean(x, axis=-1, keepdims=True)


def _across(values: Vector, x: Rows) -> Float[Array, "*ones features"]:
    """The values with as many axes as `x`."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
