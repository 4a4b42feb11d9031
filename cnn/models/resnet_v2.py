"""Residual networks of pre-activated blocks: ResNet v2 and the wide ones for CIFAR.

He et al. 2016, "Identity mappings in deep residual networks": figure 1b, tables 3 to 5 and the
appendix. Zagoruyko & Komodakis 2016, "Wide residual networks": table 1, where names say the depth
and the widening factor; with dropout its rate on CIFAR is 0.3.

Where the shape changes, shortcut and branch share the first activation; shortcut A, of the
110-layer network, passes the map itself on. In the CIFAR networks the first activation is before
the paths part, as in the paper's appendix.

Differs from the paper: the ImageNet networks are timm's, with the stride on the bottleneck's 3x3
convolution (`block="bottleneck_v1"` puts it back on the first 1x1) and no norm between the first
convolution and the max pooling. Those of 18 and 34 layers are not in the paper.

Convolutions are He-normal by fan-out and the classifier is uniform within 1 / sqrt(fan-in), as in
the authors' code.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_V2 = "He et al., Identity mappings in deep residual networks"
_WIDE = "Zagoruyko & Komodakis, Wide residual networks"

Image = Float[Array, "batch height width channels"]
NewImage = Float[Array, "batch new_height new_width features"]


def _imagenet(block: str, *depths: int) -> dict[str, Any]:
    return {"block": block, "depths": depths}


def _cifar(block: str, blocks: int, widen: int = 1, **fields: Any) -> dict[str, Any]:
    """Three stages of that many blocks each."""
    return {
        "block": block,
        "depths": (blocks, blocks, blocks),
        "widths": (16 * widen, 32 * widen, 64 * widen),
        "stem": "cifar",
        "stem_width": 16,
        **fields,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18_v2": _imagenet("basic", 2, 2, 2, 2),
    "resnet34_v2": _imagenet("basic", 3, 4, 6, 3),
    "resnet50_v2": _imagenet("bottleneck", 3, 4, 6, 3),
    "resnet101_v2": _imagenet("bottleneck", 3, 4, 23, 3),
    "resnet152_v2": _imagenet("bottleneck", 3, 8, 36, 3),
    "resnet110_v2_cifar": _cifar("basic", 18, shortcut="A"),
    "resnet164_v2_cifar": _cifar("bottleneck_v1", 18),
    "resnet1001_v2_cifar": _cifar("bottleneck_v1", 111),
    "wrn_16_8_cifar": _cifar("basic", 2, 8),
    "wrn_28_10_cifar": _cifar("basic", 4, 10),
    "wrn_40_4_cifar": _cifar("basic", 6, 4),
    "resnet_v2_test": {
        "block": "basic",
        "depths": (1, 1),
        "widths": (8, 16),
        "stem": "cifar",
        "stem_width": 8,
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    paper = _WIDE if name.startswith("wrn") else _V2
    if name.endswith(("_cifar", "_test")):
        return Source(paper, 2016, image_size=32, num_classes=10)
    return Source(paper, 2016)


class Layer(NamedTuple):
    """One convolution of a block."""

    features: int
    kernel_size: int
    stride: int = 1


class Block(linen.Module):
    """A branch of norms, activations and convolutions, added to a shortcut.

    Attributes:
        layers: The convolutions of the branch.
        shortcut: Where the shape changes: `A` takes every stride-th pixel and adds channels of
            zeros, `B` is a 1x1 convolution of what the branch's first convolution gets.
        early: Whether a shortcut of the same shape also starts behind the first activation.
        attention: After the branch, as in `nn.attention`.
        activation: As in `nn.activation`.
        dropout_rate: Before the second convolution.
        drop_path_rate: Probability that an example goes without the branch.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    layers: tuple[Layer, ...]
    shortcut: str
    early: bool
    attention: str
    activation: str
    dropout_rate: float
    drop_path_rate: float
    sync: nn.Sync
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> NewImage:
        """The block's output."""
        y = shortcut = x
        for index, layer in enumerate(self.layers):
            norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=f"norm{index}")
            y = nn.activation(self.activation)(norm(y, train=train))
            if index == 0:
                shortcut = self._shortcut(x, y)
            if index == 1:
                y = linen.Dropout(self.dropout_rate)(y, deterministic=not train)
            y = nn.Conv(**layer._asdict(), dtype=self.dtype, name=f"conv{index}")(y)
        weigh = nn.attention(self.attention, sync=self.sync, dtype=self.dtype)
        y = weigh(y, train=train)
        return shortcut + nn.DropPath(self.drop_path_rate)(y, train=train)

    def _shortcut(self, x: Image, activated: Image) -> NewImage:
        stride = max(layer.stride for layer in self.layers)
        features = self.layers[-1].features
        if stride == 1 and x.shape[-1] == features:
            return activated if self.early else x
        if self.shortcut == "A":
            missing = features - x.shape[-1]
            before = missing // 2
            padding = ((0, 0), (0, 0), (0, 0), (before, missing - before))
            return jnp.pad(x[:, ::stride, ::stride], padding)
        conv = nn.Conv(features, 1, stride=stride, dtype=self.dtype, name="shortcut_conv")
        return conv(activated)


class Backbone(linen.Module):
    """The stem and the stages: images -> a map after each stage.

    Attributes:
        block: `basic` (two 3x3), `bottleneck` (1x1, 3x3 with the stride, and 1x1 to four times the
            width) or `bottleneck_v1`, which has the stride on the first 1x1.
        depths: Blocks in each stage; each stage but the first halves the map.
        widths: Of each stage, before the bottleneck's expansion.
        stem: `imagenet` (7x7 at stride 2, then max pooling) or `cifar` (3x3 at stride 1).
        stem_width: Channels of the first convolution.
        shortcut: Where the shape changes, `A` or `B`: see `Block`.
        attention: In each block, as in `nn.attention`: `none`, `se`, `eca` or `cbam`.
        activation: As in `nn.activation`.
        dropout_rate: In each block, before its second convolution.
        drop_path_rate: Of the last block's branch; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "imagenet"
    stem_width: int = 64
    shortcut: str = "B"
    attention: str = "none"
    activation: str = "relu"
    dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; the map at the largest stride is after the last norm and activation."""
        x, stride, maps = self._stem(images)
        rates = iter(nn.rising_rates(self.drop_path_rate, sum(self.depths)))
        for stage, depth, width in nn.stages(self.depths, self.widths):
            for index in range(depth):
                down = 2 if stage > 0 and index == 0 else 1
                block = Block(
                    layers=self._layers(width, down),
                    shortcut=nn.choose("shortcut", self.shortcut, {"A": "A", "B": "B"}),
                    early=self.stem == "cifar" and stage == index == 0,
                    attention=self.attention,
                    activation=self.activation,
                    dropout_rate=self.dropout_rate,
                    drop_path_rate=next(rates),
                    sync=self.sync,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )
                x = nn.remat(self.remat, block)(x, train=train)
                stride *= down
            maps[stride] = x
        norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="norm")
        x = maps[stride] = nn.activation(self.activation)(norm(x, train=train))
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _stem(
        self, images: Image
    ) -> tuple[Float[Array, "batch _ _ features"], int, dict[int, Array]]:
        """The stem's output, its stride, and the map before the pooling."""
        size, stride = nn.choose("stem", self.stem, {"imagenet": (7, 2), "cifar": (3, 1)})
        conv = nn.Conv(self.stem_width, size, stride=stride, dtype=self.dtype, name="stem_conv")
        x = conv(images)
        if self.stem == "cifar":
            return x, stride, {}
        return ops.max_pool(x, 3, stride=2, padding=1), 2 * stride, {stride: x}

    def _layers(self, width: int, stride: int) -> tuple[Layer, ...]:
        blocks = {
            "basic": (Layer(width, 3, stride), Layer(width, 3)),
            "bottleneck": (Layer(width, 1), Layer(width, 3, stride), Layer(4 * width, 1)),
            "bottleneck_v1": (Layer(width, 1, stride), Layer(width, 3), Layer(4 * width, 1)),
        }
        return nn.choose("block", self.block, blocks)


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
        dense = linen.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="logits")
        logits = dense(features.pooled)
        return logits.astype(jnp.promote_types(self.dtype, jnp.float32))
