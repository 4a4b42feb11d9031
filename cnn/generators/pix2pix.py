"""pix2pix: a U-Net from an image to another, and a PatchGAN of both.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", appendix, as
the authors' PyTorch code has it: no norm at the first and the innermost level, dropout of three
inner levels as the only noise. Differs: outside of training there is no dropout, and batch norm has
its running statistics.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.generators import patch_gan
from cnn.generators.initial import NEAR_ZERO
from cnn.nn.family import Source

_PAPER = "Isola et al., Image-to-image translation with conditional adversarial networks"
_FIRST_DROPPED = 4

Images = Float[Array, "batch height width channels"]

VARIANTS: dict[str, dict[str, Any]] = {
    "pix2pix": {},
    "pix2pix_128": {"depth": 7},
    "pix2pix_small": {
        "depth": 5,
        "width": 16,
        "channels": 1,
        "discriminator_width": 16,
        "num_halvings": 2,
    },
    "pix2pix_test": {
        "depth": 5,
        "width": 2,
        "channels": 1,
        "discriminator_width": 4,
        "num_halvings": 1,
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and its images, which have no classes."""
    row = VARIANTS[name]
    size, channels = 2 ** row.get("depth", 8), row.get("channels", 3)
    return Source(_PAPER, 2017, image_size=size, channels=channels, num_classes=0)


def kind(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a variant, of `cnn.kinds.KINDS`, and the options of an ordinary step."""
    del name
    return "pix2pix", {}


class Generator(linen.Module):
    """The U-Net: levels of half the size each, and back, with what the way down had.

    Attributes:
        depth: Levels; sides of images are multiples of 2 to this power.
        width: Channels of the first level; they double up to eight times as many.
        channels: Of the images that are made.
        dropout_rate: On the way up, from the fifth level to the innermost but one.
        sync: Of batch norm.
        dtype: Of the computation; images are float32 or wider.
    """

    depth: int = 8
    width: int = 64
    channels: int = 3
    dropout_rate: float = 0.5
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width _"], *, train: bool = False
    ) -> Images:
        """The images that they become, with pixels from -1 to 1; `train` draws from `dropout`.

        Raises:
            UserError: If a side of the images cannot be halved so often.
        """
        self._check(images)
        widths = [self.width * min(2**level, 8) for level in range(self.depth)]
        last = self.depth - 1
        x, seen = images, []
        for level, width in enumerate(widths):
            x = jax.nn.leaky_relu(x, 0.2) if level else x
            x = nn.Conv(
                width, 4, 2, 1, kernel_init=NEAR_ZERO, dtype=self.dtype, name=f"down{level}"
            )(x)
            if 0 < level < last:
                x = self._norm(x, f"down_norm{level}", train=train)
            seen.append(x)
        for level in reversed(range(1, self.depth)):
            x = self._up(linen.relu(x), widths[level - 1], f"up{level}")
            x = self._norm(x, f"up_norm{level}", train=train)
            if _FIRST_DROPPED <= level < last:
                x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
            x = jnp.concatenate([seen[level - 1], x], axis=-1)
        x = self._up(linen.relu(x), self.channels, "image", use_bias=True)
        return linen.tanh(x.astype(jnp.promote_types(self.dtype, jnp.float32)))

    def _up(
        self, x: Images, width: int, name: str, *, use_bias: bool = False
    ) -> Float[Array, "batch new_height new_width features"]:
        return nn.ConvTranspose(
            width, 4, padding=1, use_bias=use_bias, dtype=self.dtype, name=name
        )(x)

    def _norm(self, x: Images, name: str, *, train: bool) -> Images:
        return patch_gan.normed(x, "batch", self.sync, self.dtype, name, train=train)

    def _check(self, images: Float[Array, "batch height width _"]) -> None:
        multiple = 2**self.depth
        if images.shape[1] % multiple or images.shape[2] % multiple:
            raise UserError(
                f"a U-Net of {self.depth} levels takes images of a multiple of {multiple} pixels, "
                f"got {images.shape[1]}x{images.shape[2]}; change preprocess.image_size or "
                "model.depth"
            )


Discriminator = patch_gan.Discriminator
