"""VGG.

Simonyan & Zisserman 2015, "Very deep convolutional networks for large-scale image recognition":
table 1, configurations A (11 layers), B (13), D (16) and E (19). The `_bn` networks have batch norm
(Ioffe & Szegedy 2015) after each convolution, as in torchvision.

Differs from the paper: the last map is averaged to 7x7 before the dense layers, so that images need
not be 224x224, where it is 7x7 already. The paper slides the dense layers over larger images.

Convolutions are He-normal by fan-out and dense layers normal with deviation 0.01, as in
torchvision; the paper started its deeper networks from trained shallow ones.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Simonyan & Zisserman, Very deep convolutional networks for large-scale image recognition"
_init = normal(0.01)

Image = Float[Array, "batch height width channels"]

_A, _B, _D, _E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)

VARIANTS: dict[str, dict[str, Any]] = {
    "vgg11": {"depths": _A},
    "vgg13": {"depths": _B},
    "vgg16": {"depths": _D},
    "vgg19": {"depths": _E},
    "vgg11_bn": {"depths": _A, "batch_norm": True},
    "vgg13_bn": {"depths": _B, "batch_norm": True},
    "vgg16_bn": {"depths": _D, "batch_norm": True},
    "vgg19_bn": {"depths": _E, "batch_norm": True},
    "vgg_test": {
        "depths": (1, 2),
        "widths": (4, 8),
        "batch_norm": True,
        "pool_size": 3,
        "hidden_sizes": (12, 10),
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    small = name.endswith("_test")
    return Source(_PAPER, 2014, image_size=32 if small else 224, num_classes=10 if small else 1000)


class Backbone(linen.Module):
    """Stages of 3x3 convolutions, each ended by a pooling: images -> the map before each pooling.

    Without the dense layers, which are the head's.

    Attributes:
        depths: Convolutions in each stage.
        widths: Channels of each stage.
        batch_norm: Whether each convolution is followed by batch norm.
        activation: As in `nn.activation`.
        pool: At the end of each stage, as in `nn.Pool`: `max` as in the paper, `avg` or
            `stochastic`.
        ceil_stages: Stages, from 0 on, whose pooling also has windows that end outside the map, so
            that an odd one does not lose its last row and column: SSD's.
        remat: Of each stage, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = False
    activation: str = "relu"
    pool: str = "max"
    ceil_stages: tuple[int, ...] = ()
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; the map at the largest stride is the last pooling's."""
        x, maps = images, {}
        for stage, depth, width in nn.stages(self.depths, self.widths):
            layers = functools.partial(Backbone._stage, stage=stage, depth=depth, width=width)
            maps[2**stage], x = nn.remat(self.remat, self, layers)(x, train=train)
        maps[2 ** len(self.depths)] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _stage(
        self, x: Image, *, train: bool, stage: int, depth: int, width: int
    ) -> tuple[Float[Array, "batch height width features"], Float[Array, "batch _ _ features"]]:
        """The map before the pooling and the one after it."""
        for index in range(depth):
            stem = stage == index == 0
            conv = "stem_conv" if stem else f"stage{stage}_conv{index}"
            x = nn.Conv(width, 3, use_bias=True, dtype=self.dtype, name=conv)(x)
            if self.batch_norm:
                x = nn.BatchNorm(
                    sync=self.sync,
                    dtype=self.dtype,
                    name="stem_norm" if stem else f"stage{stage}_norm{index}",
                )(x, train=train)
            x = nn.activation(self.activation)(x)
        ceil_mode = stage in self.ceil_stages
        pool = nn.Pool(self.pool, 2, ceil_mode=ceil_mode, name=f"stage{stage}_pool")
        return x, pool(x, train=train)


class Head(linen.Module):
    """The last map, averaged to a fixed size, and dense layers with dropout after each hidden one.

    The first dense layer's kernel keeps the map's axes, [height, width, channels, units]: how a
    library flattens them is the conversion's matter.

    Attributes:
        num_classes: How many logits.
        pool_size: Height and width of the averaged map.
        hidden_sizes: Units of the hidden layers.
        activation: As in `nn.activation`.
        dropout_rate: After each hidden layer.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    pool_size: int = 7
    hidden_sizes: tuple[int, ...] = (4096, 4096)
    activation: str = "relu"
    dropout_rate: float = 0.5
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        x = ops.adaptive_avg_pool(features.maps[max(features.maps)], self.pool_size)
        for index, size in enumerate(self.hidden_sizes):
            x = nn.activation(self.activation)(self._dense(size, f"hidden{index}", x))
            x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        x = self._dense(self.num_classes, "logits", x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))

    def _dense(
        self, size: int, name: str, x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch {size}"]:
        axes = tuple(range(1, x.ndim))
        layer = linen.DenseGeneral(size, axes, kernel_init=_init, dtype=self.dtype, name=name)
        return layer(x)
