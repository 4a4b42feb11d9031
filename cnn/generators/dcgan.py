"""DCGAN: convolutions that make pictures, and convolutions that judge them.

Radford, Metz & Chintala 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", section 3 and figure 1.

Differs from the paper as PyTorch's example does: the first map has 512 channels, not 1,024, and
scales of batch norm start near 1. `wgan_gp` is the same without batch norm in the critic, as
Gulrajani et al. 2017, "Improved training of Wasserstein GANs", section 4 asks for.

With classes (Mirza & Osindero 2014, "Conditional generative adversarial nets") the generator is
told which, and the discriminator has a score for each, of which that of the image's class counts
(Mescheder et al. 2018, "Which training methods for GANs do actually converge?", in their code).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cnn import nn
from cnn.errors import UserError
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
    # 28 pixels can be halved once more than they can be doubled to.
    "dcgan_28": {
        "image_size": 28,
        "channels": 1,
        "widths": (64, 128),
        "discriminator_widths": (32, 64, 128),
    },
    "dcgan_test": {"image_size": 28, "channels": 1, "widths": (4, 8), "latent_size": 12},
}


def source(name: str) -> Source:
    """The paper of a variant, and its images, which have no classes."""
    row = VARIANTS[name]
    paper, year = (_WGAN_GP, 2017) if name.startswith("wgan") else (_PAPER, 2016)
    size, channels = row.get("image_size", 64), row.get("channels", 3)
    return Source(paper, year, image_size=size, channels=channels, num_classes=0)


def kind(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a variant, of `cnn.kinds.KINDS`, and the options of an ordinary step."""
    if name.startswith("wgan"):
        return "gan", {"loss": "wasserstein", "gradient_penalty": 10.0}
    return "gan", {}


class Generator(linen.Module):
    """Latents to images: a dense layer to the smallest map, then doubled to the image's size.

    Attributes:
        latent_size: Numbers of a latent, drawn from a normal distribution.
        image_size: Height and width of an image in pixels, a multiple of 2 to the power of the
            number of widths.
        channels: Of an image.
        widths: Channels of the maps, from the largest map to the smallest.
        num_classes: Of images that are made of a class, 0 of none. A latent has its class in
            itself, so that whatever draws latents draws classes, all equally often; see `labels`.
        sync: Of batch norm.
        dtype: Of the computation; images are float32 or wider.
    """

    latent_size: int = 100
    image_size: int = 64
    channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512)
    num_classes: int = 0
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    def labels(self, latents: Float[Array, "batch latent_size"]) -> Int[Array, " batch"]:
        """The classes of latents: which of the first `num_classes` numbers is the largest."""
        return jnp.argmax(latents[:, : self.num_classes], axis=-1)

    @linen.compact
    def __call__(
        self, latents: Float[Array, "batch latent_size"], *, train: bool = False
    ) -> Images:
        """The images, with pixels from -1 to 1.

        Raises:
            UserError: If the widths do not lead to that size of an image, or a latent has no place
                for the classes.
        """
        if self.latent_size < self.num_classes:
            raise UserError(
                f"latents of {self.latent_size} numbers have no {self.num_classes} classes in "
                "them; raise model.latent_size, or set model.conditional=False"
            )
        if self.num_classes:
            hot = jax.nn.one_hot(self.labels(latents), self.num_classes, dtype=latents.dtype)
            # As long as the numbers in whose place it is.
            hot *= self.num_classes**0.5
            latents = jnp.concatenate([hot, latents[:, self.num_classes :]], axis=-1)
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
        discriminator_widths: Channels of the maps where they are not the generator's; else ().
        discriminator_norm: `batch`, but for the first layer, or `none`, for losses that look at one
            image by itself: convolutions have biases then.
        num_classes: Of images of a class each, 0 of none.
        sync: Of batch norm.
        dtype: Of the computation; scores are float32 or wider.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    discriminator_widths: tuple[int, ...] = ()
    discriminator_norm: str = "batch"
    num_classes: int = 0
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Images, labels: Int[Array, " batch"] | None = None, *, train: bool = False
    ) -> Float[Array, " batch"]:
        """The scores: logits of an image being real, where there are classes one of its own.

        Raises:
            UserError: If the images are too small.
        """
        normed = nn.choose("norm", self.discriminator_norm, {"batch": True, "none": False})
        x = images
        for level, width in enumerate(self.discriminator_widths or self.widths):
            style = {"use_bias": not normed, "kernel_init": NEAR_ZERO, "dtype": self.dtype}
            x = nn.Conv(width, 4, 2, 1, **style, name=f"conv{level}")(x)
            if level and normed:
                x = _norm(self.sync, self.dtype, f"norm{level}")(x, train=train)
            x = jax.nn.leaky_relu(x, 0.2)
        size = (x.shape[1], x.shape[2])
        style = {"padding": 0, "kernel_init": NEAR_ZERO, "dtype": self.dtype}
        scores = nn.Conv(max(self.num_classes, 1), size, **style, name="score")(x)[:, 0, 0]
        scores = scores.astype(jnp.promote_types(self.dtype, jnp.float32))
        if not self.num_classes:
            return scores[:, 0]
        assert labels is not None, "a score is that of a class"
        return jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]


def _norm(sync: nn.Sync, dtype: DTypeLike, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(sync=sync, scale_init=near_one, dtype=dtype, name=name)
