"""The contracting path of U-Net: pairs of 3x3 convolutions, the map halved between them.

Ronneberger, Fischer & Brox 2015, "U-Net: convolutional networks for biomedical image segmentation",
section 2 and figure 1; the expansive path is `cnn.heads.unet`. `padding="valid"` is the paper's: no
pixel depends on what is not in the image, so maps shrink, and images are cut into tiles that
overlap. `padding="same"` keeps the size. Convolutions are He-normal by fan-in (section 3), and the
last two levels have dropout, as in the authors' code; `norm="batch"` is common today.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_PAPER = "Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation"
_DROPPED_LEVELS = 2

Image = Float[Array, "batch height width channels"]
NewImage = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "unet_encoder": {},
    "unet_encoder_test": {"widths": (4, 8), "padding": "same", "norm": "batch"},
}


def source(name: str) -> Source:
    """The paper of a variant; its images are gray, its classes cell and background."""
    if name.endswith("_test"):
        return Source(_PAPER, 2015, image_size=32, num_classes=10)
    return Source(_PAPER, 2015, image_size=572, channels=1, num_classes=2)


class Backbone(linen.Module):
    """The levels: images -> a map at each, strides 1, 2, 4, ...

    Attributes:
        widths: Channels of each level.
        padding: `valid`: none, or `same`: half the kernel.
        norm: After each convolution, `none` (it has a bias then) or `batch`.
        dropout_rate: Of the last two levels' maps.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    padding: str = "valid"
    norm: str = "none"
    dropout_rate: float = 0.5
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features.

        Raises:
            UserError: If without padding a map has an odd side, of which halving would drop a row.
        """
        padding = nn.choose("padding", self.padding, {"valid": 0, "same": 1})
        batch_norm = nn.choose("norm", self.norm, {"none": False, "batch": True})
        x, maps = images, {}
        for level, width in enumerate(self.widths):
            if level:
                self._check_even(images, x)
                x = ops.max_pool(x, 2)
            for index in range(2):
                name = f"level{level}_conv{index}" if level or index else "stem_conv"
                x = nn.Conv(
                    width,
                    3,
                    padding=padding,
                    use_bias=not batch_norm,
                    kernel_init=variance_scaling(2.0, "fan_in", "normal"),
                    dtype=self.dtype,
                    name=name,
                )(x)
                if batch_norm:
                    norm_name = name.replace("conv", "norm")
                    norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=norm_name)
                    x = norm(x, train=train)
                x = linen.relu(x)
            if level >= len(self.widths) - _DROPPED_LEVELS:
                x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
            maps[2**level] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _check_even(self, images: Image, x: Float[Array, "batch _ _ _"]) -> None:
        if self.padding == "valid" and (x.shape[1] % 2 or x.shape[2] % 2):
            size = nearest_valid_size(max(images.shape[1:3]), len(self.widths))
            raise UserError(
                f"images of {images.shape[1]}x{images.shape[2]} pixels come to a map of odd size in"
                f" a U-Net without padding; take {size}, or model.padding=same"
            )


def nearest_valid_size(size: int, levels: int) -> int:
    """The smallest side from `size` on whose maps halve evenly without padding, in pixels."""
    deepest, step = 1, 2 ** (levels - 1)
    # Two convolutions take 4 pixels at each level: on the way up something must be left,
    for _ in range(levels - 1):
        deepest = -(-(deepest + 4) // 2)
    # and on the way down every map has them.
    smallest = deepest + 4
    for _ in range(levels - 1):
        smallest = 2 * smallest + 4
    return smallest + max(0, -(-(size - smallest) // step)) * step
