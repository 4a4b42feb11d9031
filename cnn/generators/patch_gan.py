"""PatchGAN: a discriminator of overlapping patches, and the norms of the networks beside it.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", section 2.2.2
and appendix, as the authors' PyTorch code has it.
"""

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.generators.initial import NEAR_ZERO, near_one

Map = Float[Array, "batch height width channels"]


class Discriminator(linen.Module):
    """Images, or pairs of images as channels, to a score of each patch: 70x70 pixels by default.

    Attributes:
        discriminator_width: Channels of the first map.
        num_halvings: Of the map; each doubles the channels, up to eight times the width.
        discriminator_norm: `batch` or `instance`, of all layers but the first and the last.
        sync: Of batch norm.
        dtype: Of the computation; scores are float32 or wider.
    """

    discriminator_width: int = 64
    num_halvings: int = 3
    discriminator_norm: str = "batch"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Map, *, train: bool = False) -> Float[Array, "batch rows columns"]:
        """The scores: logits of a patch being real.

        Raises:
            UserError: If the images are too small.
        """
        x = images
        for level in range(self.num_halvings + 1):
            conv = nn.Conv(
                self.discriminator_width * min(2**level, 8),
                4,
                stride=2 if level < self.num_halvings else 1,
                padding=1,
                use_bias=level == 0 or has_bias(self.discriminator_norm),
                kernel_init=NEAR_ZERO,
                dtype=self.dtype,
                name=f"conv{level}",
            )
            x = conv(x)
            if level:
                name = f"norm{level}"
                x = normed(x, self.discriminator_norm, self.sync, self.dtype, name, train=train)
            x = jax.nn.leaky_relu(x, 0.2)
        last = {"padding": 1, "use_bias": True, "kernel_init": NEAR_ZERO, "dtype": self.dtype}
        x = nn.Conv(1, 4, **last, name="score")(x)
        return x[..., 0].astype(jnp.promote_types(self.dtype, jnp.float32))


def has_bias(norm: str) -> bool:
    """Whether a convolution before that norm has a bias: where the norm itself has none.

    Raises:
        UserError: If there is no such norm.
    """
    return nn.choose("norm", norm, {"batch": False, "instance": True})


def normed(x: Map, norm: str, sync: nn.Sync, dtype: DTypeLike, name: str, *, train: bool) -> Map:
    """Batch norm, whose parameters have that name, or instance norm without any."""
    if has_bias(norm):
        return instance_norm(x)
    return nn.BatchNorm(sync=sync, scale_init=near_one, dtype=dtype, name=name)(x, train=train)


def instance_norm(x: Map, epsilon: float = 1e-5) -> Map:
    """Each channel of each image with mean 0 and variance 1.

    Ulyanov et al. 2016, "Instance normalization: the missing ingredient for fast stylization".
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=(1, 2), keepdims=True)
    return ((wide - mean) * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)
