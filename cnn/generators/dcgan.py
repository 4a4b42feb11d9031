"""DCGAN: convolutions that make pictures, and convolutions that judge them.

Radford, Metz & Chintala 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", section 3 and figure 1.

Differs from the paper as PyTorch's example does: the first map has 512 channels, not 1,024, and
scales of batch norm start near 1. `wgan_gp` is the same without batch norm in the critic, as
Gulrajani et al. 2017, "Improved training of Wasserstein GANs", section 4 asks for.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.generators.doubling import smallest_map
from cnn.generators.initial import NEAR_ZERO, near_one
from cnn.nn.family import Source

_PAPER = "Radford et al., Unsupervised representation learning with deep convolutional GANs"
_WGAN_GP = "Gulrajani et al., Improved training of Wasserstein GANs"

Images = Float[Array, "batch height width channels"]

VARIANTS: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "wgan_gp": {"discriminator_norm": "none"},
    "dcgan_small": {"image_size": 32, "channels": 1, "widths": (32, 64, 128)},
    "dcgan_test": {"image_size": 28, "channels": 1, "widths": (4, 8), "latent_size": 6},
}


def source(name: str) -> Source:
    """The paper of a variant, and its images, which have no classes."""
    row = VARIANTS[name]
    paper, year = (_WGAN_GP, 2017) if name.startswith("wgan") else (_PAPER, 2016)
    size, channels = row.get("image_size", 64), row.get("channels", 3)
    return Source(paper, year, image_size=size, channels=channels, num_classes=0)


class Generator(linen.Module):
    """Latents to images: a dense layer to the smallest map, then doubled to the image's size.

    Attributes:
        latent_size: Numbers of a latent, drawn from a normal distribution.
        image_size: Height and width of an image in pixels, a multiple of 2 to the power of the
            number of widths.
        channels: Of an image.
        widths: Channels of the maps, from the largest map to the smallest.
        sync: Of batch norm.
        dtype: Of the computation; images are float32 or wider.
    """

    latent_size: int = 100
    image_size: int = 64
    channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512)
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, latents: Float[Array, "batch latent_size"], *, train: bool = False
    ) -> Images:
        """The images, with pixels from -1 to 1.

        Raises:
            UserError: If the widths do not lead to that size of an image.
        """
        x = latents[:, None, None, :]
        start = smallest_map(self.image_size, len(self.widths))
        shapes = [(start, 1, 0)] + [(4, 2, 1)] * len(self.widths)
        outputs = [*reversed(self.widths), self.channels]
        for level, ((size, stride, padding), width) in enumerate(zip(shapes, outputs, strict=True)):
            last = level == len(self.widths)
            name = "image" if last else f"up{level}"
            x = nn.ConvTranspose(width, size, stride, padding, dtype=self.dtype, name=name)(x)
            if not last:
                x = linen.relu(_norm(self.sync, self.dtype, f"norm{level}")(x, train=train))
        return linen.tanh(x.astype(jnp.promote_types(self.dtype, jnp.float32)))


class Discriminator(linen.Module):
    """Images to scores: the generator turned round.

    Attributes:
        widths: As the generator's.
        discriminator_norm: `batch`, but for the first layer, or `none`, for losses that look at one
            image by itself: convolutions have biases then.
        sync: Of batch norm.
        dtype: Of the computation; scores are float32 or wider.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    discriminator_norm: str = "batch"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Images, *, train: bool = False) -> Float[Array, " batch"]:
        """The scores: logits of an image being real.

        Raises:
            UserError: If the images are too small.
        """
        normed = nn.choose("norm", self.discriminator_norm, {"batch": True, "none": False})
        x = images
        for level, width in enumerate(self.widths):
            style = {"use_bias": not normed, "kernel_init": NEAR_ZERO, "dtype": self.dtype}
            x = nn.Conv(width, 4, 2, 1, **style, name=f"conv{level}")(x)
            if level and normed:
                x = _norm(self.sync, self.dtype, f"norm{level}")(x, train=train)
            x = jax.nn.leaky_relu(x, 0.2)
        size = (x.shape[1], x.shape[2])
        x = nn.Conv(1, size, padding=0, kernel_init=NEAR_ZERO, dtype=self.dtype, name="score")(x)
        return x.reshape(-1).astype(jnp.promote_types(self.dtype, jnp.float32))


def _norm(sync: nn.Sync, dtype: DTypeLike, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(sync=sync, scale_init=near_one, dtype=dtype, name=name)
