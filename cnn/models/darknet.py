"""The convolutions of the first YOLO, Redmon et al. 2016, "You only look once", section 2.2.

Figure 3: 3x3 convolutions after 1x1 ones that halve the channels, a max pool between stages, leaky
ReLU of slope 0.1. `darknet20` has the 20 that were trained on ImageNet at 224 pixels, with a mean
over the map and one linear layer; `cnn.detectors.yolo_v1` adds four and two dense layers.

The paper has no batch norm, its authors' later code has; `norm="batch"` is that.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Redmon et al., You only look once: unified, real-time object detection"

Image = Float[Array, "batch height width channels"]
NewImage = Float[Array, "batch new_height new_width features"]

VARIANTS: dict[str, dict[str, Any]] = {
    "darknet20": {},
    "darknet_test": {"stem_width": 8, "widths": ((8, 16),)},
}


def source(name: str) -> Source:
    """The paper; its images of ImageNet."""
    if name.endswith("_test"):
        return Source(_PAPER, 2016, image_size=32, num_classes=10)
    return Source(_PAPER, 2016)


class Backbone(linen.Module):
    """The stem, and stages after a max pool each: strides 2, 4, 8, ...

    Attributes:
        stem_width: Channels of the first convolution, 7x7 at stride 2.
        widths: Of the convolutions of each stage; the last of a stage is 3x3, the one before it
            1x1, and so on.
        norm: After each convolution, `none` (it has a bias then) or `batch`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    stem_width: int = 64
    widths: tuple[tuple[int, ...], ...] = (
        (192,),
        (128, 256, 256, 512),
        (*(256, 512) * 4, 512, 1024),
        (512, 1024) * 2,
    )
    norm: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features."""
        x = self._layer(images, "stem", self.stem_width, 7, 2, train=train)
        maps = {2: x}
        for stage, widths in enumerate(self.widths):
            x = ops.max_pool(x, 2)
            for index, width in enumerate(widths):
                size = 3 if (len(widths) - index) % 2 else 1
                x = self._layer(x, f"stage{stage}_{index}", width, size, 1, train=train)
            maps[4 * 2**stage] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _layer(
        self, x: Image, name: str, features: int, size: int, stride: int, *, train: bool
    ) -> NewImage:
        batch_norm = nn.choose("norm", self.norm, {"none": False, "batch": True})
        x = nn.Conv(
            features,
            size,
            stride=stride,
            use_bias=not batch_norm,
            # So that deep maps neither fade nor grow, whatever has no norm.
            kernel_init=variance_scaling(2.0, "fan_in", "normal"),
            dtype=self.dtype,
            name=f"{name}_conv",
        )(x)
        if batch_norm:
            norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=f"{name}_norm")
            x = norm(x, train=train)
        return jax.nn.leaky_relu(x, 0.1)
