"""The backbone of YOLOv8 (Jocher et al. 2023): a Darknet whose stages are cross-stage partial.

Wang et al. 2020, "CSPNet: a new backbone that can enhance learning capability of CNN": half of a
stage's channels pass its blocks by. Here, as in YOLOv8, what each block makes is kept too, and the
last map has spatial pyramid pooling (He et al. 2015, "Spatial pyramid pooling in deep convolutional
networks"), by three max pools in a row. There is no paper of this network; its description is that
of its authors' configuration, and the parameter counts are theirs (`tests/detectors`).

Differs from it as a classifier: one linear layer on the mean of the last map.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Jocher et al., Ultralytics YOLOv8"

Image = Float[Array, "batch height width channels"]
NewImage = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "csp_darknet_n": {"depths": (1, 2, 2, 1), "widths": (16, 32, 64, 128, 256)},
    "csp_darknet_s": {"depths": (1, 2, 2, 1), "widths": (32, 64, 128, 256, 512)},
    "csp_darknet_m": {"depths": (2, 4, 4, 2), "widths": (48, 96, 192, 384, 576)},
    "csp_darknet_test": {"depths": (1, 1), "widths": (8, 8, 16)},
}


def source(name: str) -> Source:
    """The network's description; the images of its detectors, the classes of its classifiers."""
    if name.endswith("_test"):
        return Source(_PAPER, 2023, image_size=32, num_classes=10)
    return Source(_PAPER, 2023, image_size=224)


class Backbone(linen.Module):
    """The stem and the stages, each of which halves the map: strides 2, 4, 8, ...

    Attributes:
        depths: Blocks of each stage.
        widths: Channels of the stem and of each stage.
        pool_size: Side of the max pools on the last map, in pixels.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    pool_size: int = 5
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; the last map is that after the pools."""
        x = self._layer(images, "stem", self.widths[0], 3, 2, train=train)
        maps = {2: x}
        for index, depth, width in nn.stages(self.depths, self.widths[1:]):
            x = self._layer(x, f"down{index}", width, 3, 2, train=train)
            x = nn.CrossStage(width, depth, True, self._style(), name=f"stage{index}")(
                x, train=train
            )
            maps[4 * 2**index] = x
        pooled = [self._layer(x, "pool_in", self.widths[-1] // 2, 1, 1, train=train)]
        for _ in range(3):
            padding = self.pool_size // 2
            pooled.append(ops.max_pool(pooled[-1], self.pool_size, stride=1, padding=padding))
        fused = jnp.concatenate(pooled, axis=-1)
        x = self._layer(fused, "pool_out", self.widths[-1], 1, 1, train=train)
        maps[max(maps)] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _layer(
        self, x: Image, name: str, features: int, size: int, stride: int, *, train: bool
    ) -> NewImage:
        conv = {"features": features, "kernel_size": size, "stride": stride}
        return nn.conv_norm(x, name, self._style(), train=train, activation="silu", **conv)

    def _style(self) -> nn.Style:
        return nn.Style("silu", "none", 0.97, 1e-3, self.sync, self.dtype)
