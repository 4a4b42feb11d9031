"""Batch normalisation, Ioffe & Szegedy 2015, with torch's bookkeeping."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import lax
from jax.nn.initializers import Initializer, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops
from cnn.errors import UserError

Image = Float[Array, "batch height width channels"]
Vector = Float[Array, " channels"]


class Sync(NamedTuple):
    """Which examples share statistics.

    Attributes:
        axis_name: The mapped axis (of `pmap`) over whose devices statistics are taken; None where
            the layer sees the whole batch, as under `jit`, on a mesh of any size.
        group_size: So many neighbouring examples of the whole batch share them, whatever the
            devices: what papers did whose devices had batches of that size. 0 means all.
        frozen: Whether none do: training too normalises by the running statistics, and neither
            those nor scales and biases learn. For trained backbones of detectors, which see few
            images at a time.
    """

    axis_name: str | None = None
    group_size: int = 0
    frozen: bool = False


WHOLE_BATCH = Sync()


class _Over(NamedTuple):
    """The devices that an average is over, and whether the variance comes with the mean."""

    axis_name: str | None
    index_groups: tuple[tuple[int, ...], ...] | None = None
    one_pass: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Standardised:
    """An image with mean 0 and variance 1 in each channel, before a scale and a bias.

    Attributes:
        image: What the scale and the bias of a norm belong to.
        mean: Of each channel of the image as it was.
        unbiased: Its unbiased variance.
    """

    image: Image
    mean: Vector
    unbiased: Vector


class BatchNorm(linen.Module):
    """Normalises each channel by the batch's mean and variance, or by running ones in evaluation.

    As in torch, the batch is normalised by the biased variance and the running variance is
    unbiased; linen's own layer keeps the biased one, which is off by n / (n - 1) and shows in small
    maps. With groups, the running statistics are the means over groups of their mean and of their
    unbiased variance. Statistics are float32 whatever the dtype.

    Attributes:
        momentum: Of the running statistics: what is kept at each step (0.9 is torch's 0.1).
        epsilon: Added to the variance.
        sync: Which examples share statistics.
        scale_init: Initialiser of the scale; zeros make a residual branch start as nothing.
        dtype: Of the output.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    sync: Sync = WHOLE_BATCH
    scale_init: Initializer = ones
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Image | Standardised, *, train: bool) -> Image:
        """Normalises; with `train` by the batch, whose statistics then move the running ones.

        Args:
            x: The image; in training it may have been standardised, where others norm it too.
            train: Whether by the batch.

        Raises:
            UserError: If groups and what a device has of the batch do not fit, or a frozen norm
                shares its statistics with others.
        """
        shape = (x.image if isinstance(x, Standardised) else x).shape[-1:]
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if self.sync.frozen:
            if isinstance(x, Standardised):
                raise UserError("norms that share statistics cannot be frozen; frozen_norm=False")
            scale, bias = lax.stop_gradient((scale, bias))
        if not train or self.sync.frozen:
            assert not isinstance(x, Standardised), "running statistics are of the image as it was"
            x = x.astype(_wide(self.dtype))
            gain = scale * lax.rsqrt(running_var.value + self.epsilon)
            y = (x - _spread(running_mean.value)) * _spread(gain) + _spread(bias)
            return y.astype(self.dtype)
        if isinstance(x, Standardised):
            y, mean, unbiased = x.image.astype(_wide(self.dtype)), x.mean, x.unbiased
            y = y * _spread(scale) + _spread(bias)
        else:
            # While parameters are made there is neither a mapped axis nor a whole batch.
            sync = WHOLE_BATCH if self.is_initializing() else self.sync
            y, mean, unbiased = _by_batch(self.epsilon, sync, x, scale, bias, self.dtype)
        if not self.is_initializing():
            running_mean.value = self._move(running_mean.value, mean)
            running_var.value = self._move(running_var.value, unbiased)
        return y.astype(self.dtype)

    def _move(self, running: Vector, batch: Vector) -> Vector:
        return self.momentum * running + (1 - self.momentum) * batch


def standardise(
    x: Image, *, epsilon: float = 1e-5, sync: Sync = WHOLE_BATCH, dtype: DTypeLike = "float32"
) -> Standardised:
    """What several batch norms of one image share in training: all but their scales and biases.

    Args:
        x: The image.
        epsilon: As in `BatchNorm`.
        sync: As in `BatchNorm`.
        dtype: Of the standardised image.

    Raises:
        UserError: As `BatchNorm`.
    """
    width = x.shape[-1]
    scale, bias = jnp.ones(width, jnp.float32), jnp.zeros(width, jnp.float32)
    y, mean, unbiased = _by_batch(epsilon, sync, x, scale, bias, dtype)
    return Standardised(y.astype(dtype), mean, unbiased)


def _by_batch(
    epsilon: float, sync: Sync, x: Image, scale: Vector, bias: Vector, dtype: DTypeLike
) -> tuple[Image, Vector, Vector]:
    """The image normalised by the statistics of its group, and their means over all groups."""
    # The sum of squares is exact enough for what was rounded before, see `_variance`.
    one_pass = jnp.finfo(x.dtype).bits < 32
    x = x.astype(_wide(dtype))
    axis_name, group_size = sync.axis_name, sync.group_size
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    examples = group_size or devices * len(x)
    count = examples * x.shape[1] * x.shape[2]
    correction = count / max(count - 1, 1)
    if not group_size:
        over = _Over(axis_name, one_pass=one_pass)
        y, mean, var = _normalise(epsilon, over, x, scale, bias)
        return y, mean, var * correction
    if len(x) % group_size == 0:
        groups = x.reshape(-1, group_size, *x.shape[1:])
        normalise = functools.partial(_normalise, epsilon, _Over(None, one_pass=one_pass))
        y, mean, var = jax.vmap(normalise, (0, None, None))(groups, scale, bias)
        y, mean, var = y.reshape(x.shape), mean.mean(0), var.mean(0)
    else:
        over = _Over(axis_name, _index_groups(group_size, len(x), devices), one_pass)
        y, mean, var = _normalise(epsilon, over, x, scale, bias)
    everywhere = _Over(axis_name)
    return y, _over(everywhere, mean), _over(everywhere, var) * correction


def _wide(dtype: DTypeLike) -> jnp.dtype:
    """What statistics are computed in."""
    return jnp.promote_types(dtype, jnp.float32)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _normalise(
    epsilon: float, over: _Over, x: Image, scale: Vector, bias: Vector
) -> tuple[Image, Vector, Vector]:
    """The image normalised by its own statistics; mean and biased variance over all devices."""
    y, mean, var, _, _ = _normalised(epsilon, over, x, scale, bias)
    return y, mean, var


@_normalise.defjvp
def _normalise_jvp(
    epsilon: float,
    over: _Over,
    primals: tuple[Image, Vector, Vector],
    tangents: tuple[Image, Vector, Vector],
) -> tuple[tuple[Image, Vector, Vector], tuple[Image, Vector, Vector]]:
    """The derivative with as few sums over the image as there are: two, also transposed.

    JAX's own has five, since it does not see that the mean of what is centred is zero.
    """
    x, scale, bias = primals
    dx, dscale, dbias = tangents
    y, mean, var, centred, inverse = _normalised(epsilon, over, x, scale, bias)
    gain = scale * inverse
    dmean = _average(dx, over)
    covariance = _average(centred * dx, over)
    dy = (
        dx * _spread(gain)
        + _spread(dbias - gain * dmean)
        + centred * _spread(inverse * dscale - gain * jnp.square(inverse) * covariance)
    )
    return (y, mean, var), (dy, dmean, 2 * covariance)


def _normalised(
    epsilon: float, over: _Over, x: Image, scale: Vector, bias: Vector
) -> tuple[Image, Vector, Vector, Image, Vector]:
    """Normalised image, mean, variance, centred image and inverse standard deviation."""
    mean = _average(x, over)
    # It serves the variance, the result and the derivative.
    centred = ops.hold(x - _spread(mean))
    var = _variance(over, x, mean, centred)
    inverse = lax.rsqrt(var + epsilon)
    return centred * _spread(scale * inverse) + _spread(bias), mean, var, centred, inverse


def _variance(over: _Over, x: Image, mean: Vector, centred: Image) -> Vector:
    """The biased variance, in a pass of its own over the image or in that of the mean.

    E[x^2] - mean^2 loses digits as the difference of large numbers: some 2^-24 of mean^2. Where x
    was rounded to bfloat16 its own rounding is a variance of 2^-20 mean^2 at least, so nothing is
    lost that was there; and the sums come with the convolution that writes x, which an accelerator
    then reads once less.
    """
    if over.one_pass:
        return jnp.maximum(_average(jnp.square(x), over) - jnp.square(mean), 0)
    return _average(jnp.square(centred), over)


def _average(x: Image, over: _Over) -> Vector:
    return _over(over, jnp.mean(x, axis=(0, 1, 2)))


def _over(over: _Over, mean: Vector) -> Vector:
    if over.axis_name is None:
        return mean
    return lax.pmean(mean, over.axis_name, axis_index_groups=over.index_groups)


def _index_groups(group_size: int, examples: int, devices: int) -> tuple[tuple[int, ...], ...]:
    """The devices that have a group together, of so many examples a device."""
    together = group_size // examples
    if group_size % examples or devices % together:
        raise UserError(
            f"norm_group_size is {group_size}, and batch norm sees {devices * examples} examples "
            f"in {devices} parts; groups of as many must fill the batch, and hold whole parts or "
            "be parts of one"
        )
    return tuple(tuple(range(first, first + together)) for first in range(0, devices, together))


def _spread(values: Vector | Float[np.ndarray, " channels"]) -> Float[Array, "1 1 1 channels"]:
    return jnp.asarray(values).reshape(1, 1, 1, -1)
