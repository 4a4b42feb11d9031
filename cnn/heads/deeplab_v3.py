"""DeepLab v3, Chen et al. 2017, "Rethinking atrous convolution for semantic image segmentation".

Section 3.3: a pyramid of convolutions of several dilations and the mean of the image. Differs from
the paper as torchvision does: a 3x3 convolution follows the pyramid, dropout its projection, and
there is an auxiliary head in training. The rates are for an output stride of 8 in VARIANTS; the
paper halves them for 16.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.heads.fcn import pixel_logits
from cnn.nn.family import Features, Source

_PAPER = "Chen et al., Rethinking atrous convolution for semantic image segmentation"

Map = Float[Array, "batch height width channels"]
NewMap = Float[Array, "batch height width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "deeplabv3_resnet50": {"backbone": "resnet50", "output_stride": 8, "auxiliary_width": 0},
    "deeplabv3_resnet101": {"backbone": "resnet101", "output_stride": 8, "auxiliary_width": 0},
    "deeplabv3_test": {
        "backbone": "resnet_test",
        "output_stride": 1,
        "auxiliary_width": 4,
        "width": 8,
        "dilations": (2, 3),
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images: VOC's classes and the background."""
    if name.endswith("_test"):
        return Source(_PAPER, 2017, image_size=32, num_classes=3)
    return Source(_PAPER, 2017, image_size=520, num_classes=21)


class Head(linen.Module):
    """Atrous spatial pyramid pooling on the last map, a 3x3 convolution and a 1x1.

    Attributes:
        num_classes: How many logits a pixel has.
        width: Channels of every part.
        dilations: Of the 3x3 convolutions of the pyramid.
        dropout_rate: Of the pyramid's projection.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    width: int = 256
    dilations: tuple[int, ...] = (12, 24, 36)
    dropout_rate: float = 0.5
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, features: Features, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "batch height width classes"]:
        """The logits, interpolated to the size of the image."""
        x = features.maps[max(features.maps)]
        branches = [self._layer(x, "point", 1, train=train)]
        for index, dilation in enumerate(self.dilations):
            branches.append(self._layer(x, f"atrous{index}", 3, dilation, train=train))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        mean = self._layer(mean, "pooled", 1, train=train)
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        x = self._layer(jnp.concatenate(branches, axis=-1), "project", 1, train=train)
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        x = self._layer(x, "last", 3, train=train)
        return ops.resize_bilinear(pixel_logits(x, self.num_classes, self.dtype), size)

    def _layer(
        self, x: Map, name: str, kernel_size: int, dilation: int = 1, *, train: bool
    ) -> NewMap:
        style = nn.Style("relu", "none", 0.9, 1e-5, self.sync, self.dtype)
        conv = {"features": self.width, "kernel_size": kernel_size, "dilation": dilation}
        return nn.conv_norm(x, name, style, train=train, activation="relu", **conv)
