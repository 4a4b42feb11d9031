"""The expansive path of U-Net, on any backbone with a map at each stride.

Ronneberger, Fischer & Brox 2015, "U-Net: convolutional networks for biomedical image segmentation",
section 2 and figure 1: at each level a 2x2 up-convolution that halves the channels, the
contracting path's map beside it, and two 3x3 convolutions. `unet` is the paper's network, without
padding: of 572x572 pixels it gives logits for the 388x388 in the middle.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from cnn import nn, ops
from cnn.heads.fcn import pixel_logits
from cnn.nn.family import Features, Source

_PAPER = "Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation"

Map = Float[Array, "batch height width channels"]
NewMap = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {"backbone": "unet_encoder"},
    "unet_padded": {"backbone": "unet_encoder", "padding": "same"},
    "unet_small": {
        "backbone": "unet_encoder",
        "widths": (16, 32, 64, 128),
        "padding": "same",
        "norm": "batch",
        "dropout_rate": 0.0,
    },
    "unet_resnet34": {"backbone": "resnet34", "padding": "same", "norm": "batch"},
    "unet_test": {"backbone": "unet_encoder_test", "padding": "same", "norm": "batch"},
}


def source(name: str) -> Source:
    """The paper of a variant; its images are gray, its classes cell and background."""
    if name.endswith("_test"):
        return Source(_PAPER, 2015, image_size=32, num_classes=3)
    if name == "unet_resnet34":
        return Source(_PAPER, 2015, image_size=512, num_classes=21)
    return Source(_PAPER, 2015, image_size=572, channels=1, num_classes=2)


class Head(linen.Module):
    """From the coarsest map up to the finest, and a 1x1 convolution.

    Attributes:
        num_classes: How many logits a pixel has.
        padding: As the backbone's: `valid` or `same`.
        norm: After each 3x3 convolution, `none` (it has a bias then) or `batch`.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    padding: str = "valid"
    norm: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, features: Features, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "batch height width classes"]:
        """The logits: interpolated to the size of the image, or without padding of its middle."""
        same = nn.choose("padding", self.padding, {"valid": False, "same": True})
        *finer, coarsest = sorted(features.maps)
        x = features.maps[coarsest]
        for level in reversed(range(len(finer))):
            skip = features.maps[finer[level]]
            up = nn.UpConv(x.shape[-1] // 2, dtype=self.dtype, name=f"level{level}_up")(x)
            if same:
                up = _grown(up, skip.shape[1], skip.shape[2])
            else:
                skip = middle(skip, (up.shape[1], up.shape[2]))
            x = jnp.concatenate([skip, up], axis=-1)
            for index in range(2):
                x = self._layer(x, f"level{level}_conv{index}", skip.shape[-1], train=train)
        logits = pixel_logits(x, self.num_classes, self.dtype)
        return ops.resize_bilinear(logits, size) if same else logits

    def _layer(self, x: Map, name: str, width: int, *, train: bool) -> NewMap:
        batch_norm = nn.choose("norm", self.norm, {"none": False, "batch": True})
        x = nn.Conv(
            width,
            3,
            padding=None if self.padding == "same" else 0,
            use_bias=not batch_norm,
            kernel_init=variance_scaling(2.0, "fan_in", "normal"),
            bias_init=zeros,
            dtype=self.dtype,
            name=name,
        )(x)
        if batch_norm:
            norm_name = name.replace("conv", "norm")
            x = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=norm_name)(x, train=train)
        return linen.relu(x)


def middle(
    x: Shaped[Array, "batch height width *rest"], size: tuple[int, int]
) -> Shaped[Array, "batch new_height new_width *rest"]:
    """The part of this size in the middle, in whole pixels."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]


def _grown(x: Map, height: int, width: int) -> NewMap:
    """The map with the pixels at the bottom and right that halving an odd size dropped."""
    padding = ((0, 0), (0, max(0, height - x.shape[1])), (0, max(0, width - x.shape[2])), (0, 0))
    return jnp.pad(x, padding, mode="edge")[:, :height, :width]
