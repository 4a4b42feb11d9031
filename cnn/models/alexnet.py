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

import functools
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

Image = Float[Array, "batch height width channels"]

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
        activation: As in `nn.activation`.
        pool: As in `nn.Pool`: `max` as in the papers, `avg` or `stochastic`.
        remat: Of each layer, as in `nn.remat`.
        dtype: Of the computation.
    """

    widths: tuple[int, int, int, int, int]
    stem_size: int = 11
    stem_stride: int = 4
    stem_padding: int = 0
    groups: int = 1
    response_norm: bool = False
    activation: str = "relu"
    pool: str = "max"
    remat: str = "none"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features."""
        stride = self.stem_stride
        x, maps = images, {}
        for number, scale in enumerate((1, 2, 4, 4, 4), start=1):
            layer = functools.partial(Backbone._layer, number=number)
            maps[scale * stride], x = nn.remat(self.remat, self, layer)(x, train=train)
        maps[8 * stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _layer(
        self, x: Image, *, train: bool, number: int
    ) -> tuple[Float[Array, "batch _ _ features"], Float[Array, "batch _ _ features"]]:
        """The map of a convolution, and what the next one sees."""
        if number == 1:
            size, stride, padding = self.stem_size, self.stem_stride, self.stem_padding
        else:
            size, stride, padding = (5 if number == 2 else 3), 1, None
        conv = nn.Conv(
            self.widths[number - 1],
            size,
            stride=stride,
            padding=padding,
            groups=1 if number in (1, 3) else self.groups,
            use_bias=True,
            kernel_init=_init,
            bias_init=zeros if number in (1, 3) else ones,
            dtype=self.dtype,
            name="stem_conv" if number == 1 else f"conv{number}",
        )
        y = x = nn.activation(self.activation)(conv(x))
        if number in (1, 2) and self.response_norm:
            y = ops.local_response_norm(y)
        if number in (1, 2, 5):
            y = nn.Pool(self.pool, 3, 2, name=f"pool{number}")(y, train=train)
        return x, y


class Head(linen.Module):
    """The last map, averaged to a fixed size, and dense layers with dropout.

    The first dense layer's kernel keeps the map's axes, [height, width, channels, units]: how a
    library flattens them is the conversion's matter.

    Attributes:
        num_classes: How many logits.
        pool_size: Height and width of the averaged map.
        hidden_sizes: Units of the hidden layers.
        activation: As in `nn.activation`.
        dropout: `before` each hidden layer, or `after` it.
        dropout_rate: Of the dropout.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    pool_size: int = 6
    hidden_sizes: tuple[int, ...] = (4096, 4096)
    activation: str = "relu"
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
            x = nn.activation(self.activation)(self._dense(size, f"hidden{index}", x))
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
