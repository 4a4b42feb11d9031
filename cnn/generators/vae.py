"""A convolutional variational autoencoder.

Kingma & Welling 2014, "Auto-encoding variational Bayes", section 3 and appendix C. Differs from the
paper: convolutions that halve the image and transposed ones that double it, where the paper has one
hidden layer.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.generators.doubling import smallest_map
from cnn.nn.family import Source

_PAPER = "Kingma & Welling, Auto-encoding variational Bayes"
# Of a transposed convolution what a pixel reads is a quarter of the taps, of the last axis.
_HE_TRANSPOSED = variance_scaling(8.0, "fan_in", "normal", in_axis=-1, out_axis=-2)

Images = Float[Array, "batch height width channels"]

VARIANTS: dict[str, dict[str, Any]] = {
    "vae": {},
    "vae_small": {"image_size": 28, "channels": 1, "widths": (32, 64), "latent_size": 16},
    "vae_test": {"image_size": 28, "channels": 1, "widths": (4, 8), "latent_size": 3},
}


def source(name: str) -> Source:
    """The paper of a variant, and our images, which have no classes."""
    row = VARIANTS[name]
    size, channels = row.get("image_size", 64), row.get("channels", 3)
    return Source(_PAPER, 2014, image_size=size, channels=channels, num_classes=0)


def kind(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a variant, of `cnn.kinds.KINDS`, and the options of an ordinary step."""
    del name
    return "vae", {}


class Encoder(linen.Module):
    """Images to the distribution of their latents.

    Attributes:
        latent_size: Numbers of a latent.
        widths: Channels of the maps, each half the size of the one before.
        dtype: Of the computation; the distribution is float32 or wider.
    """

    latent_size: int = 128
    widths: tuple[int, ...] = (32, 64, 128, 256)
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Images, *, train: bool = False
    ) -> tuple[Float[Array, "batch latent_size"], Float[Array, "batch latent_size"]]:
        """(means, logarithms of variances) of independent normal distributions."""
        del train
        x = images
        for level, width in enumerate(self.widths):
            x = nn.Conv(width, 4, 2, 1, use_bias=True, dtype=self.dtype, name=f"conv{level}")(x)
            x = linen.relu(x)
        x = x.reshape(len(x), -1)
        x = nn.Dense(2 * self.latent_size, dtype=self.dtype, name="latents")(x)
        mean, log_variance = jnp.split(x.astype(jnp.promote_types(self.dtype, jnp.float32)), 2, -1)
        return mean, log_variance


class Generator(linen.Module):
    """Latents to images: the encoder turned round.

    Attributes:
        latent_size: Numbers of a latent.
        image_size: Height and width of an image in pixels, a multiple of 2 to the power of the
            number of widths.
        channels: Of an image.
        widths: Channels of the maps, from the largest map to the smallest.
        dtype: Of the computation; images are float32 or wider.
    """

    latent_size: int = 128
    image_size: int = 64
    channels: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256)
    dtype: DTypeLike = "float32"

    @linen.compact
    def logits(
        self, latents: Float[Array, "batch latent_size"]
    ) -> Float[Array, "batch height width channels"]:
        """Of each value of a pixel being 1 rather than 0, as a Bernoulli distribution has it."""
        start = smallest_map(self.image_size, len(self.widths))
        x = nn.Dense(start * start * self.widths[-1], dtype=self.dtype, name="latents")(latents)
        x = linen.relu(x).reshape(len(latents), start, start, self.widths[-1])
        outputs = [*reversed(self.widths[:-1]), self.channels]
        for level, width in enumerate(outputs):
            last = level == len(outputs) - 1
            x = nn.ConvTranspose(
                width,
                4,
                padding=1,
                use_bias=True,
                kernel_init=_HE_TRANSPOSED,
                dtype=self.dtype,
                name="image" if last else f"up{level}",
            )(x)
            x = x if last else linen.relu(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))

    def __call__(
        self, latents: Float[Array, "batch latent_size"], *, train: bool = False
    ) -> Images:
        """The means of the pixels, from -1 to 1."""
        del train
        return jnp.tanh(self.logits(latents) / 2)
