"""LR-ASPP, Howard et al. 2019, "Searching for MobileNetV3", section 6.4 and figure 10.

Differs from the paper as torchvision does: the gate is made of the mean of the whole map, which the
paper takes in large windows.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import errors, nn, ops
from cnn.heads.fcn import pixel_logits
from cnn.nn.family import Features, Source

_PAPER = "Howard et al., Searching for MobileNetV3"

VARIANTS: dict[str, dict[str, Any]] = {
    "lraspp_mobilenet_v3_large": {"backbone": "mobilenet_v3_large", "output_stride": 16},
    "lraspp_test": {"backbone": "mobilenet_test", "low_stride": 2, "width": 8},
}


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images: VOC's classes and the background."""
    if name.endswith("_test"):
        return Source(_PAPER, 2019, image_size=32, num_classes=3)
    return Source(_PAPER, 2019, image_size=520, num_classes=21)


class Head(linen.Module):
    """Channels of the last map weighted by its mean, upsampled, and the logits of a finer map.

    Attributes:
        num_classes: How many logits a pixel has.
        width: Channels that the last map is brought to.
        low_stride: Of the finer map, the first of that stride: torchvision's choice.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    width: int = 128
    low_stride: int = 8
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, features: Features, size: tuple[int, int], *, train: bool = False
    ) -> Float[Array, "batch height width classes"]:
        """The logits, interpolated to the size of the image."""
        high, low = features.maps[max(features.maps)], self._low(features)
        x = nn.Conv(self.width, 1, dtype=self.dtype, name="conv")(high)
        x = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="norm")(x, train=train)
        mean = jnp.mean(high, axis=(1, 2), keepdims=True)
        gate = nn.Conv(self.width, 1, dtype=self.dtype, name="gate_conv")(mean)
        x = linen.relu(x) * linen.sigmoid(gate)
        x = ops.resize_bilinear(x, (low.shape[1], low.shape[2]))
        logits = pixel_logits(x, self.num_classes, self.dtype)
        logits += pixel_logits(low, self.num_classes, self.dtype, "low_logits")
        return ops.resize_bilinear(logits, size)

    def _low(self, features: Features) -> Float[Array, "batch _ _ _"]:
        place = self.low_stride.bit_length() - 2
        if not 0 <= place < len(features.auxiliary):
            raise errors.UserError(
                f"low_stride is {self.low_stride}, and the backbone has maps at the strides "
                f"{', '.join(map(str, sorted(features.maps)))}"
            )
        return features.auxiliary[place]
