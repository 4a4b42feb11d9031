"""AlexNet.

Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural
networks": section 3 and figure 2 (`alexnet_2012`). Krizhevsky 2014, "One weird trick for
parallelizing convolutional neural networks": the one tower (`alexnet`), as torchvision has it.

Differs from the papers: the last map is averaged to 6x6 before the dense layers, so that images
need not be 224x224 (227x227 for `alexnet_2012`), where it is 6x6 already. The 2012 paper says 224,
with which its numbers do not add up. Its response normalisation here sees all channels, not only
those of one GPU. torchvision's dropout is before the hidden layers, the paper's after them.

Weights are normal with deviation 0.01; biases are 1 in the second, fourth and fifth convolution and
the hidden dense layers, 0 elsewhere: section 5 of the 2012 paper.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import normal, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_2012 = "Krizhevsky et al., ImageNet classification with deep convolutional neural networks"
_2014 = "Krizhevsky, One weird trick for parallelizing convolutional neural networks"
_init = normal(0.01)

VARIANTS: dict[str, dict[str, Any]] = {
    "alexnet": {"widths": (64, 192, 384, 256, 256), "stem_padding": 2},
    "alexnet_2012": {
        "widths": (96, 256, 384, 384, 256),
        "groups": 2,
        "response_norm": True,
        "dropout": "after",
    },
    "alexnet_test": {
        "widths": (4, 8, 6, 8, 6),
        "stem_size": 5,
        "stem_stride": 1,
        "stem_padding": 2,
        "groups": 2,
        "response_norm": True,
        "pool_size": 2,
        "hidden_sizes": (12, 10),
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith("_test"):
        return Source(_2012, 2012, image_size=32, num_classes=10)
    return Source(_2012, 2012, image_size=227) if name.endswith("2012") else Source(_2014, 2014)


class Backbone(linen.Module):
    """Five convolutions and three overlapping poolings: images -> the map before each pooling.

    Without the dense layers, which are the head's.

    Attributes:
        widths: Channels of the five convolutions.
        stem_size: Height and width of the first kernel.
        stem_stride: Of the first convolution; 1 or 2 for images smaller than 64x64.
        stem_padding: Of the first convolution.
        groups: Of the second, fourth and fifth convolution: the paper's two GPUs.
        response_norm: Whether local response normalisation follows the first two activations.
        dtype: Of the computation.
    """

    widths: tuple[int, int, int, int, int]
    stem_size: int = 11
    stem_stride: int = 4
    stem_padding: int = 0
    groups: int = 1
    response_norm: bool = False
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features; `train` changes nothing here."""
        del train
        stride = self.stem_stride
        stem = nn.Conv(
            self.widths[0],
            self.stem_size,
            stride=stride,
            padding=self.stem_padding,
            use_bias=True,
            kernel_init=_init,
            dtype=self.dtype,
            name="stem_conv",
        )
        maps = {stride: linen.relu(stem(images))}
        x = self._reduce(maps[stride])
        maps[2 * stride] = self._conv(2, 5, x, groups=self.groups)
        x = self._reduce(maps[2 * stride])
        x = self._conv(3, 3, x)
        x = self._conv(4, 3, x, groups=self.groups)
        maps[4 * stride] = self._conv(5, 3, x, groups=self.groups)
        x = ops.max_pool(maps[4 * stride], 3, stride=2)
        maps[8 * stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _conv(
        self,
        number: int,
        kernel_size: int,
        x: Float[Array, "batch height width channels"],
        *,
        groups: int = 1,
    ) -> Float[Array, "batch height width features"]:
        conv = nn.Conv(
            self.widths[number - 1],
            kernel_size,
            groups=groups,
            use_bias=True,
            kernel_init=_init,
            bias_init=zeros if number == 3 else ones,
            dtype=self.dtype,
            name=f"conv{number}",
        )
        return linen.relu(conv(x))

    def _reduce(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch new_height new_width channels"]:
        if self.response_norm:
            x = ops.local_response_norm(x)
        return ops.max_pool(x, 3, stride=2)


class Head(linen.Module):
    """The last map, averaged to a fixed size, and dense layers with dropout.

    The first dense layer's kernel keeps the map's axes, [height, width, channels, units]: how a
    library flattens them is the conversion's matter.

    Attributes:
        num_classes: How many logits.
        pool_size: Height and width of the averaged map.
        hidden_sizes: Units of the hidden layers.
        dropout: `before` each hidden layer, or `after` it.
        dropout_rate: Of the dropout.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    pool_size: int = 6
    hidden_sizes: tuple[int, ...] = (4096, 4096)
    dropout: str = "before"
    dropout_rate: float = 0.5
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        before = nn.choose("dropout", self.dropout, {"before": True, "after": False})
        x = ops.adaptive_avg_pool(features.maps[max(features.maps)], self.pool_size)
        for index, size in enumerate(self.hidden_sizes):
            dropout = linen.Dropout(self.dropout_rate, deterministic=not train)
            x = dropout(x) if before else x
            x = linen.relu(self._dense(size, f"hidden{index}", x))
            x = x if before else dropout(x)
        x = self._dense(self.num_classes, "logits", x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))

    def _dense(
        self, size: int, name: str, x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch {size}"]:
        layer = linen.DenseGeneral(
            size,
            tuple(range(1, x.ndim)),
            kernel_init=_init,
            bias_init=zeros if name == "logits" else ones,
            dtype=self.dtype,
            name=name,
        )
        return layer(x)
