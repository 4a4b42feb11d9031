"""CycleGAN: a residual generator for either way between two kinds of images, and PatchGANs.

Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks",
section 4 and appendix 7.2, as the authors' PyTorch code has it; the generator is that of Johnson et
al. 2016, "Perceptual losses for real-time style transfer and super-resolution".
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.generators import patch_gan
from cnn.generators.initial import NEAR_ZERO
from cnn.nn.family import Source

_PAPER = "Zhu et al., Unpaired image-to-image translation using cycle-consistent adversarial nets"
_HALVINGS = 2

Images = Float[Array, "batch height width channels"]
NewImages = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "cyclegan": {"discriminator_norm": "instance"},
    "cyclegan_6blocks": {"num_blocks": 6, "discriminator_norm": "instance"},
    "cyclegan_test": {
        "num_blocks": 1,
        "width": 4,
        "channels": 1,
        "discriminator_width": 4,
        "num_halvings": 1,
        "discriminator_norm": "instance",
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and its images, which have no classes."""
    row = VARIANTS[name]
    size = 32 if name.endswith("_test") else 128 if "num_blocks" in row else 256
    return Source(_PAPER, 2017, image_size=size, channels=row.get("channels", 3), num_classes=0)


def kind(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a variant, of `cnn.kinds.KINDS`, and the options of an ordinary step."""
    del name
    return "cyclegan", {}


class Generator(linen.Module):
    """Two halvings, residual blocks and two doublings, with instance norm.

    Attributes:
        num_blocks: Residual blocks: 9 for images of 256 pixels, 6 for 128.
        width: Channels at the image's size.
        channels: Of the images that are made.
        dtype: Of the computation; images are float32 or wider.
    """

    num_blocks: int = 9
    width: int = 64
    channels: int = 3
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width _"], *, train: bool = False
    ) -> Images:
        """The images that they become, with pixels from -1 to 1.

        Raises:
            UserError: If a side of the images is no multiple of 4, or below 8 pixels.
        """
        del train
        if any(side % 2**_HALVINGS or side < 8 for side in images.shape[1:3]):
            raise UserError(
                "CycleGAN's generator takes images of a multiple of 4 pixels from 8 on, got "
                f"{images.shape[1]}x{images.shape[2]}; change preprocess.image_size"
            )
        wide = self.width * 2**_HALVINGS
        x = self._layer(_mirrored(images, 3), self.width, 7, "stem_conv")
        for level in range(_HALVINGS):
            x = self._layer(x, self.width * 2 ** (level + 1), 3, f"down{level}", 2, 1)
        for index in range(self.num_blocks):
            y = self._layer(_mirrored(x, 1), wide, 3, f"block{index}_conv0")
            y = self._conv(_mirrored(y, 1), wide, 3, f"block{index}_conv1")
            x = x + patch_gan.instance_norm(y)
        for level in reversed(range(_HALVINGS)):
            x = nn.ConvTranspose(
                self.width * 2**level,
                3,
                padding=1,
                output_padding=1,
                use_bias=True,
                dtype=self.dtype,
                name=f"up{level}",
            )(x)
            x = linen.relu(patch_gan.instance_norm(x))
        x = self._conv(_mirrored(x, 3), self.channels, 7, "image")
        return linen.tanh(x.astype(jnp.promote_types(self.dtype, jnp.float32)))

    def _conv(
        self, x: Images, width: int, size: int, name: str, stride: int = 1, padding: int = 0
    ) -> NewImages:
        style = {"use_bias": True, "kernel_init": NEAR_ZERO, "dtype": self.dtype}
        return nn.Conv(width, size, stride, padding, **style, name=name)(x)

    def _layer(
        self, x: Images, width: int, size: int, name: str, stride: int = 1, padding: int = 0
    ) -> NewImages:
        x = self._conv(x, width, size, name, stride, padding)
        return linen.relu(patch_gan.instance_norm(x))


Discriminator = patch_gan.Discriminator


def _mirrored(x: Images, margin: int) -> NewImages:
    """The maps with a margin that mirrors them, their edge not repeated."""
    return jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
