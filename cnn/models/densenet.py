"""DenseNet with bottlenecks and compression (DenseNet-BC).

Huang et al. 2017, "Densely connected convolutional networks": table 1 and section 4.2 for ImageNet,
section 3 for CIFAR, where names say the depth and the growth rate.

Dropout follows every convolution but the first, as the paper has it; torchvision has it after the
3x3 ones only. Convolutions are He-normal by fan-out and the classifier is uniform within
1 / sqrt(fan-in), as in the authors' code.

With `remat` a layer's input is joined again too, so that what is kept grows by the growth rate with
each layer and not by all channels so far: Pleiss et al. 2017, "Memory-efficient implementation of
DenseNets". Theirs, which keeps the convolutions, is `dots`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Huang et al., Densely connected convolutional networks"

Image = Float[Array, "batch height width channels"]
Map = Float[Array, "batch height width _"] | nn.Standardised


def _imagenet(*depths: int, growth_rate: int = 32) -> dict[str, Any]:
    return {"depths": depths, "growth_rate": growth_rate, "stem_width": 2 * growth_rate}


def _cifar(depth: int, growth_rate: int) -> dict[str, Any]:
    """A network of that many layers, two in each of its dense layers and four outside them."""
    return {**_imagenet(*3 * ((depth - 4) // 6,), growth_rate=growth_rate), "stem": "cifar"}


VARIANTS: dict[str, dict[str, Any]] = {
    "densenet121": _imagenet(6, 12, 24, 16),
    "densenet161": _imagenet(6, 12, 36, 24, growth_rate=48),
    "densenet169": _imagenet(6, 12, 32, 32),
    "densenet201": _imagenet(6, 12, 48, 32),
    "densenet_bc_100_12_cifar": _cifar(100, 12),
    "densenet_bc_250_24_cifar": _cifar(250, 24),
    "densenet_bc_190_40_cifar": _cifar(190, 40),
    "densenet_test": {**_imagenet(1, 1, growth_rate=4), "stem": "cifar"},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith(("_cifar", "_test")):
        return Source(_PAPER, 2016, image_size=32, num_classes=10)
    return Source(_PAPER, 2016)


class Unit(linen.Module):
    """Norm, activation, convolution, dropout, once by kernel size: what a DenseNet is made of.

    Attributes:
        widths: Channels after each convolution.
        kernel_sizes: Of each convolution.
        activation: As in `nn.activation`.
        dropout_rate: After each convolution.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    widths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    activation: str
    dropout_rate: float
    sync: nn.Sync
    dtype: DTypeLike

    @linen.compact
    def __call__(
        self, maps: Sequence[Map], *, train: bool
    ) -> Float[Array, "batch height width features"]:
        """The unit's output, of the channels of all maps."""
        x: Any = _join(maps)
        for index, (width, size) in enumerate(zip(self.widths, self.kernel_sizes, strict=True)):
            norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=f"norm{index}")
            x = nn.activation(self.activation)(norm(x, train=train))
            x = nn.Conv(width, size, dtype=self.dtype, name=f"conv{index}")(x)
            x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        return x


def _join(maps: Sequence[Map]) -> Map:
    """The channels of all, in their order."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=-1), *maps)


class Backbone(linen.Module):
    """The stem and the dense blocks: images -> a map after each block.

    Attributes:
        depths: Layers in each block; between blocks the map is halved.
        growth_rate: Channels that a layer adds: the paper's k.
        stem_width: Channels of the first convolution.
        bottleneck: Channels of a layer's 1x1 convolution, in growth rates.
        compression: Part of the channels that a transition keeps: the paper's theta.
        stem: `imagenet` (7x7 at stride 2, norm and max pooling) or `cifar` (3x3 at stride 1 alone).
        activation: After each norm, as in `nn.activation`.
        dropout_rate: After each convolution but the first.
        remat: Of each layer and transition, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    depths: tuple[int, ...]
    growth_rate: int
    stem_width: int
    bottleneck: int = 4
    compression: float = 0.5
    stem: str = "imagenet"
    activation: str = "relu"
    dropout_rate: float = 0.0
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; the map at the largest stride is after the last norm's activation."""
        x, stride, maps = self._stem(images, train=train)
        seen = [self._as_seen(x, train=train)]
        for block, depth in enumerate(self.depths):
            if block > 0:
                kept = int(x.shape[-1] * self.compression)
                x = self._unit(f"transition{block}", (kept,), (1,))(seen, train=train)
                x = ops.avg_pool(x, 2)
                stride *= 2
                seen = [self._as_seen(x, train=train)]
            parts = [x]
            for index in range(depth):
                widths = (self.bottleneck * self.growth_rate, self.growth_rate)
                layer = self._unit(f"block{block}_layer{index}", widths, (1, 3))
                parts.append(layer(seen, train=train))
                seen.append(self._as_seen(parts[-1], train=train))
                if self.remat == "none":
                    # Else the compiler joins all maps anew in each layer.
                    seen = [ops.hold(_join(seen))]
            x = maps[stride] = jnp.concatenate(parts, axis=-1)
        norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="norm")
        x = maps[stride] = nn.activation(self.activation)(norm(_join(seen), train=train))
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _as_seen(self, x: Image, *, train: bool) -> Map:
        """A map as all layers after it see it: their norms have the batch's statistics in common.

        So a map is standardised once, and not by each of the norms.
        """
        if not train:
            return x
        # While parameters are made there is neither a mapped axis nor a whole batch.
        sync = nn.WHOLE_BATCH if self.is_initializing() else self.sync
        return nn.standardise(x, sync=sync, dtype=self.dtype)

    def _stem(
        self, images: Image, *, train: bool
    ) -> tuple[Float[Array, "batch _ _ features"], int, dict[int, Array]]:
        """The stem's output, its stride, and the map before the pooling."""
        size, stride = nn.choose("stem", self.stem, {"imagenet": (7, 2), "cifar": (3, 1)})
        conv = nn.Conv(self.stem_width, size, stride=stride, dtype=self.dtype, name="stem_conv")
        x = conv(images)
        if self.stem == "cifar":
            return x, stride, {}
        norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="stem_norm")
        x = nn.activation(self.activation)(norm(x, train=train))
        return ops.max_pool(x, 3, stride=2, padding=1), 2 * stride, {stride: x}

    def _unit(
        self, name: str, widths: tuple[int, ...], kernel_sizes: tuple[int, ...]
    ) -> Callable[..., Array]:
        unit = Unit(
            widths=widths,
            kernel_sizes=kernel_sizes,
            activation=self.activation,
            dropout_rate=self.dropout_rate,
            sync=self.sync,
            dtype=self.dtype,
            name=name,
        )
        return nn.remat(self.remat, unit)


class Head(linen.Module):
    """A dense layer on the pooled features.

    Attributes:
        num_classes: How many logits.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits; `train` changes nothing here."""
        del train
        init = variance_scaling(1 / 3, "fan_in", "uniform")
        x = linen.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="logits")(
            features.pooled
        )
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
