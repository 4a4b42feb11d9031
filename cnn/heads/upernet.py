"""UPerNet, Xiao et al. 2018, "Unified perceptual parsing for scene understanding", section 3.1.

A pyramid of means of the last map (PPM of Zhao et al. 2017, "Pyramid scene parsing network") on top
of a feature pyramid (Lin et al. 2017), all maps brought to the finest and fused: the head with
which ConvNeXt was measured on ADE20K (Liu et al. 2022, table 4). As in its authors' code, each map
of the backbone has a layer norm first, and training an auxiliary head of 256 channels.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.heads.fcn import pixel_logits
from cnn.nn.family import Features, Source

_PAPER = "Xiao et al., Unified perceptual parsing for scene understanding"

Map = Float[Array, "batch height width channels"]
NewMap = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "upernet_convnext_tiny": {"backbone": "convnext_tiny", "auxiliary_width": 256},
    "upernet_convnext_small": {"backbone": "convnext_small", "auxiliary_width": 256},
    "upernet_convnext_base": {"backbone": "convnext_base", "auxiliary_width": 256},
    "upernet_test": {
        "backbone": "convnext_test",
        "auxiliary_width": 4,
        "width": 8,
        "pool_sizes": (1, 2),
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and the images and classes of ADE20K."""
    if name.endswith("_test"):
        return Source(_PAPER, 2018, image_size=32, num_classes=3)
    return Source(_PAPER, 2018, image_size=512, num_classes=150)


class Head(linen.Module):
    """The pyramid of means, the feature pyramid and their fusion.

    Attributes:
        num_classes: How many logits a pixel has.
        width: Channels of every part.
        pool_sizes: Sides of the pyramid's means, in pixels.
        map_norm: Whether each map of the backbone has a layer norm first.
        dropout_rate: Before the logits.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    width: int = 512
    pool_sizes: tuple[int, ...] = (1, 2, 3, 6)
    map_norm: bool = True
    dropout_rate: float = 0.1
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, features: Features, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "batch height width classes"]:
        """The logits, interpolated to the size of the image."""
        maps = []
        for index, stride in enumerate(sorted(features.maps)):
            x = features.maps[stride]
            if self.map_norm:
                x = nn.LayerNorm(dtype=self.dtype, name=f"map_norm{index}")(x)
            maps.append(x)
        pyramid = [self._pooled(maps[-1], train=train)]
        for index in reversed(range(len(maps) - 1)):
            lateral = self._layer(maps[index], f"lateral{index}", 1, train=train)
            above = ops.resize_bilinear(pyramid[0], (lateral.shape[1], lateral.shape[2]))
            pyramid.insert(0, lateral + above)
        finest = (pyramid[0].shape[1], pyramid[0].shape[2])
        # The coarsest has had its 3x3 convolution with the means.
        levels = [
            self._layer(x, f"level{index}", 3, train=train) for index, x in enumerate(pyramid[:-1])
        ]
        levels = [ops.resize_bilinear(x, finest) for x in (*levels, pyramid[-1])]
        x = self._layer(jnp.concatenate(levels, axis=-1), "fuse", 3, train=train)
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        return ops.resize_bilinear(pixel_logits(x, self.num_classes, self.dtype), size)

    def _pooled(self, x: Map, *, train: bool) -> NewMap:
        """The map and its means at several sizes, in one."""
        parts = [x]
        for index, side in enumerate(self.pool_sizes):
            mean = self._layer(ops.adaptive_avg_pool(x, side), f"pool{index}", 1, train=train)
            parts.append(ops.resize_bilinear(mean, (x.shape[1], x.shape[2])))
        return self._layer(jnp.concatenate(parts, axis=-1), "pools", 3, train=train)

    def _layer(self, x: Map, name: str, kernel_size: int, *, train: bool) -> NewMap:
        style = nn.Style("relu", "none", 0.9, 1e-5, self.sync, self.dtype)
        conv = {"features": self.width, "kernel_size": kernel_size}
        return nn.conv_norm(x, name, style, train=train, activation="relu", **conv)
