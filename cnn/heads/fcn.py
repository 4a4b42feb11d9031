"""Fully convolutional networks, Long, Shelhamer & Darrell 2015: logits of each pixel of a map.

Differs from the paper, which reads several maps of VGG: as in torchvision, one 3x3 convolution on
the last map of a dilated ResNet (Yu, Koltun & Funkhouser 2017, "Dilated residual networks"), then
one 1x1, and the logits are interpolated. In training the same on the map before the last stage is
an auxiliary head (Zhao et al. 2017, "Pyramid scene parsing network", section 3.3).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Long et al., Fully convolutional networks for semantic segmentation"

VARIANTS: dict[str, dict[str, Any]] = {
    "fcn_resnet50": {"backbone": "resnet50", "output_stride": 8, "auxiliary_width": 0},
    "fcn_resnet101": {"backbone": "resnet101", "output_stride": 8, "auxiliary_width": 0},
    "fcn_test": {"backbone": "resnet_test", "output_stride": 1, "auxiliary_width": 4},
}


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images: VOC's classes and the background."""
    if name.endswith("_test"):
        return Source(_PAPER, 2015, image_size=32, num_classes=3)
    return Source(_PAPER, 2015, image_size=520, num_classes=21)


class Head(linen.Module):
    """A 3x3 convolution, a norm, ReLU, dropout and a 1x1 convolution.

    Attributes:
        num_classes: How many logits a pixel has.
        width: Channels between the convolutions; 0 is a quarter of those that come in.
        reads: `last`, the map of the largest stride, or `previous`: the one before the last stage.
        dropout_rate: Before the logits.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    width: int = 0
    reads: str = "last"
    dropout_rate: float = 0.1
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, features: Features, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "batch height width classes"]:
        """The logits, interpolated to the size of the image."""
        x = _choose(features, self.reads)
        width = self.width or x.shape[-1] // 4
        x = nn.Conv(width, 3, dtype=self.dtype, name="conv")(x)
        x = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="norm")(x, train=train)
        x = linen.Dropout(self.dropout_rate)(linen.relu(x), deterministic=not train)
        return ops.resize_bilinear(pixel_logits(x, self.num_classes, self.dtype), size)


def _choose(features: Features, reads: str) -> Float[Array, "batch _ _ _"]:
    strides = sorted(features.maps)
    last = features.maps[strides[-1]]
    # A dilated backbone keeps it apart, since both have one stride.
    previous = features.auxiliary[-1] if features.auxiliary else features.maps[strides[-2]]
    return nn.choose("reads", reads, {"last": last, "previous": previous})


def pixel_logits(
    x: Float[Array, "batch height width channels"],
    num_classes: int,
    dtype: DTypeLike,
    name: str = "logits",
) -> Float[Array, "batch height width classes"]:
    """A 1x1 convolution with bias in the module that calls; float32 or wider.

    Initialised as torch's default, as in torchvision's segmenters. With a classifier's deviation of
    0.01 the last features of a narrow network die before the logits have learnt from them.
    """
    init = variance_scaling(1 / 3, "fan_in", "uniform")
    conv = nn.Conv(num_classes, 1, use_bias=True, kernel_init=init, dtype=dtype, name=name)
    return conv(x).astype(jnp.promote_types(dtype, jnp.float32))
