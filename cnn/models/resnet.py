"""ResNet and what only changes its numbers: ResNeXt and wide ResNet.

He et al. 2016, "Deep residual learning for image recognition": table 1 for ImageNet, section 4.2
for CIFAR-10. Xie et al. 2017, "Aggregated residual transformations": table 1. Zagoruyko & Komodakis
2016, "Wide residual networks": the ImageNet ones of table 8.

Differs from the paper: in a bottleneck the 3x3 convolution has the stride, "v1.5", as in the
implementations whose weights and accuracies are published; `version="v1"` puts it back on the first
1x1. The CIFAR networks default to shortcut A as in the paper, the others to B.

Convolutions are He-normal by fan-out, norms start at gain 1 and bias 0, as in torchvision;
`zero_init_last` starts each branch's last gain at 0 (Goyal et al. 2017, section 5.1).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_RESNET = "He et al., Deep residual learning for image recognition"
_RESNEXT = "Xie et al., Aggregated residual transformations for deep neural networks"
_WIDE = "Zagoruyko & Komodakis, Wide residual networks"


def _imagenet(block: str, *depths: int, **fields: Any) -> dict[str, Any]:
    return {"block": block, "depths": depths, **fields}


def _cifar(blocks: int) -> dict[str, Any]:
    """6 `blocks` + 2 layers."""
    return {
        "block": "basic",
        "depths": (blocks, blocks, blocks),
        "widths": (16, 32, 64),
        "stem": "cifar",
        "shortcut": "A",
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": _imagenet("basic", 2, 2, 2, 2),
    "resnet34": _imagenet("basic", 3, 4, 6, 3),
    "resnet50": _imagenet("bottleneck", 3, 4, 6, 3),
    "resnet101": _imagenet("bottleneck", 3, 4, 23, 3),
    "resnet152": _imagenet("bottleneck", 3, 8, 36, 3),
    "resnext50_32x4d": _imagenet("bottleneck", 3, 4, 6, 3, groups=32, base_width=4),
    "resnext101_32x8d": _imagenet("bottleneck", 3, 4, 23, 3, groups=32, base_width=8),
    "wide_resnet50_2": _imagenet("bottleneck", 3, 4, 6, 3, base_width=128),
    "wide_resnet101_2": _imagenet("bottleneck", 3, 4, 23, 3, base_width=128),
    "resnet8_cifar": _cifar(1),
    "resnet20_cifar": _cifar(3),
    "resnet32_cifar": _cifar(5),
    "resnet44_cifar": _cifar(7),
    "resnet56_cifar": _cifar(9),
    "resnet110_cifar": _cifar(18),
    "resnet_test": {"block": "basic", "depths": (1, 1), "widths": (8, 16), "stem": "cifar"},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith(("_cifar", "_test")):
        return Source(_RESNET, 2015, image_size=32, num_classes=10)
    if name.startswith("resnext"):
        return Source(_RESNEXT, 2016)
    return Source(_WIDE, 2016) if name.startswith("wide") else Source(_RESNET, 2015)


class Layer(NamedTuple):
    """One convolution of a block."""

    features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1


class Block(linen.Module):
    """A branch of convolutions, each with a norm, added to a shortcut; then ReLU.

    Attributes:
        layers: The convolutions of the branch.
        shortcut: Where the shape changes: `A` takes every stride-th pixel and adds channels of
            zeros, `B` is a 1x1 convolution and a norm.
        zero_init_last: Whether the branch starts as zero.
        drop_path_rate: Probability that an example goes without the branch.
        axis_name: Of batch norm.
        dtype: Of the computation.
    """

    layers: tuple[Layer, ...]
    shortcut: str
    zero_init_last: bool
    drop_path_rate: float
    axis_name: str | None
    dtype: DTypeLike

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch new_height new_width features"]:
        """The block's output."""
        y = x
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            y = nn.Conv(**layer._asdict(), dtype=self.dtype, name=f"conv{index}")(y)
            y = nn.BatchNorm(
                scale_init=zeros if last and self.zero_init_last else ones,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"norm{index}",
            )(y, train=train)
            if not last:
                y = linen.relu(y)
        stride = max(layer.stride for layer in self.layers)
        shortcut = x
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            shortcut = self._match(x, stride, y.shape[-1], train=train)
        return linen.relu(shortcut + nn.DropPath(self.drop_path_rate)(y, train=train))

    def _match(
        self,
        x: Float[Array, "batch height width channels"],
        stride: int,
        features: int,
        *,
        train: bool,
    ) -> Float[Array, "batch new_height new_width features"]:
        if self.shortcut == "A":
            missing = features - x.shape[-1]
            before = missing // 2
            padding = ((0, 0), (0, 0), (0, 0), (before, missing - before))
            return jnp.pad(x[:, ::stride, ::stride], padding)
        x = nn.Conv(features, 1, stride=stride, dtype=self.dtype, name="shortcut_conv")(x)
        norm = nn.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="shortcut_norm")
        return norm(x, train=train)


class Backbone(linen.Module):
    """The stem and the stages: images -> a map after each stage.

    Attributes:
        block: `basic` (two 3x3) or `bottleneck` (1x1, 3x3, and 1x1 to four times the width).
        depths: Blocks in each stage; each stage but the first halves the map.
        widths: Of each stage, before the bottleneck's expansion.
        groups: Of a bottleneck's 3x3 convolution: ResNeXt's cardinality.
        base_width: Width of one group of the 3x3 convolution where the stage's width is 64.
        stem: `imagenet` (7x7 at stride 2, then max pooling) or `cifar` (3x3 at stride 1).
        shortcut: Where the shape changes, `A` or `B`: see `Block`.
        version: `v1.5` or `v1`: which convolution of a bottleneck has the stride.
        zero_init_last: Whether each branch starts as zero.
        drop_path_rate: Of the last block's branch; rises linearly from 0 at the first.
        axis_name: Of batch norm.
        dtype: Of the computation.
    """

    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    groups: int = 1
    base_width: int = 64
    stem: str = "imagenet"
    shortcut: str = "B"
    version: str = "v1.5"
    zero_init_last: bool = False
    drop_path_rate: float = 0.0
    axis_name: str | None = None
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features."""
        x, stride, maps = self._stem(images, train=train)
        rates = iter(nn.rising_rates(self.drop_path_rate, sum(self.depths)))
        for stage, depth, width in nn.stages(self.depths, self.widths):
            for index in range(depth):
                down = 2 if stage > 0 and index == 0 else 1
                x = Block(
                    layers=self._layers(width, down),
                    shortcut=nn.choose("shortcut", self.shortcut, {"A": "A", "B": "B"}),
                    zero_init_last=self.zero_init_last,
                    drop_path_rate=next(rates),
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )(x, train=train)
                stride *= down
            maps[stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _stem(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> tuple[Float[Array, "batch _ _ features"], int, dict[int, Array]]:
        """The stem's output, its stride, and the map before the pooling."""
        size, stride = nn.choose("stem", self.stem, {"imagenet": (7, 2), "cifar": (3, 1)})
        width = self.widths[0]
        x = nn.Conv(width, size, stride=stride, dtype=self.dtype, name="stem_conv")(images)
        norm = nn.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="stem_norm")
        x = linen.relu(norm(x, train=train))
        maps = {stride: x}
        if self.stem == "imagenet":
            x = ops.max_pool(x, 3, stride=2, padding=1)
            stride *= 2
        return x, stride, maps

    def _layers(self, width: int, stride: int) -> tuple[Layer, ...]:
        first, middle = nn.choose("version", self.version, {"v1.5": (1, stride), "v1": (stride, 1)})
        inner = width * self.base_width // 64 * self.groups
        blocks = {
            "basic": (Layer(width, 3, stride), Layer(width, 3)),
            "bottleneck": (
                Layer(inner, 1, first),
                Layer(inner, 3, middle, self.groups),
                Layer(4 * width, 1),
            ),
        }
        if self.block == "basic" and (self.groups, self.base_width) != (1, 64):
            raise UserError(
                "groups and base_width are of the bottleneck; this network has basic blocks"
            )
        return nn.choose("block", self.block, blocks)
