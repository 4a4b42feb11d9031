"""ResNet and what changes its numbers or a part: ResNeXt, wide ResNet, SE-ResNet, ResNet-D.

He et al. 2016, "Deep residual learning for image recognition": table 1 for ImageNet, section 4.2
for CIFAR-10. Xie et al. 2017, "Aggregated residual transformations": table 1. Zagoruyko & Komodakis
2016, "Wide residual networks": the ImageNet ones of table 8. Hu, Shen & Sun 2018,
"Squeeze-and-excitation networks": table 1, and Wang et al. 2020, "ECA-Net", by the field
`attention`. He et al. 2019, "Bag of tricks": ResNet-D of section 4.2, with the stem `deep` and the
shortcut `D`.

Differs from the papers: in a bottleneck the 3x3 convolution has the stride, "v1.5", as in the
implementations whose weights and accuracies are published; `block="bottleneck_v1"` puts it back on
the first 1x1. SE-ResNet squeezes 64 channels to 8 where its paper has 4, as timm's does.
The CIFAR networks default to shortcut A as in the paper, the others to B.

With `output_stride` a stage that would go beyond it is dilated instead: convolutions behind the
missing stride have twice the pixels between their taps, so that the weights see what they saw, as
in torchvision's `replace_stride_with_dilation`. The pool of shortcut `D` keeps its 2x2 pixels then,
of which those beyond the edge count as zeros, as in timm.

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
_SE = "Hu et al., Squeeze-and-excitation networks"
_ECA = "Wang et al., ECA-Net: efficient channel attention for deep convolutional neural networks"
_TRICKS = "He et al., Bag of tricks for image classification with convolutional neural networks"

Image = Float[Array, "batch height width channels"]
NewImage = Float[Array, "batch new_height new_width features"]


def _imagenet(block: str, *depths: int, **fields: Any) -> dict[str, Any]:
    return {"block": block, "depths": depths, **fields}


def _d(block: str, *depths: int, **fields: Any) -> dict[str, Any]:
    return {**_imagenet(block, *depths, **fields), "stem": "deep", "shortcut": "D"}


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
    "seresnet18": _imagenet("basic", 2, 2, 2, 2, attention="se"),
    "seresnet34": _imagenet("basic", 3, 4, 6, 3, attention="se"),
    "seresnet50": _imagenet("bottleneck", 3, 4, 6, 3, attention="se"),
    "seresnet101": _imagenet("bottleneck", 3, 4, 23, 3, attention="se"),
    "seresnet152": _imagenet("bottleneck", 3, 8, 36, 3, attention="se"),
    "seresnext50_32x4d": _imagenet(
        "bottleneck", 3, 4, 6, 3, groups=32, base_width=4, attention="se"
    ),
    "resnet18d": _d("basic", 2, 2, 2, 2),
    "resnet34d": _d("basic", 3, 4, 6, 3),
    "resnet50d": _d("bottleneck", 3, 4, 6, 3),
    "resnet101d": _d("bottleneck", 3, 4, 23, 3),
    "ecaresnet50d": _d("bottleneck", 3, 4, 6, 3, attention="eca"),
    "resnet8_cifar": _cifar(1),
    "resnet20_cifar": _cifar(3),
    "resnet32_cifar": _cifar(5),
    "resnet44_cifar": _cifar(7),
    "resnet56_cifar": _cifar(9),
    "resnet110_cifar": _cifar(18),
    "resnet1202_cifar": _cifar(200),
    "resnet_test": {"block": "basic", "depths": (1, 1), "widths": (8, 16), "stem": "cifar"},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    row = VARIANTS[name]
    if name.endswith(("_cifar", "_test")):
        return Source(_RESNET, 2015, image_size=32, num_classes=10)
    if "attention" in row:
        return {"se": Source(_SE, 2017), "eca": Source(_ECA, 2019)}[row["attention"]]
    papers = {"stem": (_TRICKS, 2018), "groups": (_RESNEXT, 2016), "base_width": (_WIDE, 2016)}
    return Source(*next((papers[field] for field in papers if field in row), (_RESNET, 2015)))


class Layer(NamedTuple):
    """One convolution of a block."""

    features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1


Layers = tuple[Layer, ...]


def dilated(layers: Layers, dilation: int) -> tuple[Layers, int]:
    """The layers without strides: what is behind one sees the pixels that it saw, by dilation.

    Args:
        layers: Of a block.
        dilation: Of what comes in: pixels between those that a dense kernel would see.

    Returns:
        The layers, and the dilation of what goes out.
    """
    result = []
    for layer in layers:
        result.append(layer._replace(stride=1, dilation=dilation))
        dilation *= layer.stride
    return tuple(result), dilation


class Block(linen.Module):
    """A branch of convolutions, each with a norm, added to a shortcut; then the activation.

    Attributes:
        layers: The convolutions of the branch.
        shortcut: Where the shape changes: `A` takes every stride-th pixel and adds channels of
            zeros, `B` is a 1x1 convolution and a norm, `D` is `B` after a mean of 2x2 pixels where
            there is a stride, instead of it, or a dilation.
        attention: After the branch's last norm, as in `nn.attention`.
        activation: As in `nn.activation`.
        zero_init_last: Whether the branch starts as zero.
        drop_path_rate: Probability that an example goes without the branch.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    layers: Layers
    shortcut: str
    attention: str
    activation: str
    zero_init_last: bool
    drop_path_rate: float
    sync: nn.Sync
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> NewImage:
        """The block's output."""
        act = nn.activation(self.activation)
        y = x
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            y = nn.Conv(**layer._asdict(), dtype=self.dtype, name=f"conv{index}")(y)
            y = nn.BatchNorm(
                scale_init=zeros if last and self.zero_init_last else ones,
                sync=self.sync,
                dtype=self.dtype,
                name=f"norm{index}",
            )(y, train=train)
            if not last:
                y = act(y)
        weigh = nn.attention(self.attention, sync=self.sync, dtype=self.dtype)
        y = weigh(y, train=train)
        stride = max(layer.stride for layer in self.layers)
        shortcut = x
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            shortcut = self._match(x, stride, y.shape[-1], train=train)
        return act(shortcut + nn.DropPath(self.drop_path_rate)(y, train=train))

    def _match(self, x: Image, stride: int, features: int, *, train: bool) -> NewImage:
        if self.shortcut == "A":
            missing = features - x.shape[-1]
            before = missing // 2
            padding = ((0, 0), (0, 0), (0, 0), (before, missing - before))
            return jnp.pad(x[:, ::stride, ::stride], padding)
        if self.shortcut == "D":
            x, stride = self._pool(x, stride), 1
        x = nn.Conv(features, 1, stride=stride, dtype=self.dtype, name="shortcut_conv")(x)
        norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name="shortcut_norm")
        return norm(x, train=train)

    def _pool(self, x: Image, stride: int) -> Float[Array, "batch new_height new_width channels"]:
        if stride == 1:
            dilation = max(layer.dilation for layer in self.layers)
            return x if dilation == 1 else ops.avg_pool(x, 2, stride=1, padding=((0, 1), (0, 1)))
        # As many windows as there are for the branch: the last ones may reach over the edge.
        height, width = (size % stride for size in x.shape[1:3])
        padding = ((0, height), (0, width))
        return ops.avg_pool(x, 2, stride=stride, padding=padding, count_padding=False)


class Backbone(linen.Module):
    """The stem and the stages: images -> a map after each stage.

    Attributes:
        block: `basic` (two 3x3), `bottleneck` (1x1, 3x3 with the stride, and 1x1 to four times the
            width) or `bottleneck_v1`, which has the stride on the first 1x1.
        depths: Blocks in each stage; each stage but the first halves the map.
        widths: Of each stage, before the bottleneck's expansion.
        groups: Of a bottleneck's 3x3 convolution: ResNeXt's cardinality.
        base_width: Width of one group of the 3x3 convolution where the stage's width is 64.
        stem: `imagenet` (7x7 at stride 2, then max pooling), `deep` (three 3x3 for the 7x7, two of
            them of half the width) or `cifar` (3x3 at stride 1).
        shortcut: Where the shape changes, `A`, `B` or `D`: see `Block`.
        output_stride: The largest stride; a power of two, at least the stem's. Stages that would go
            beyond it are dilated instead, and `Features.auxiliary` is the map before the last stage
            then, which a later one of the same stride replaces in `Features.maps`.
        attention: In each block, as in `nn.attention`: `none`, `se`, `eca` or `cbam`.
        activation: As in `nn.activation`.
        zero_init_last: Whether each branch starts as zero.
        drop_path_rate: Of the last block's branch; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    groups: int = 1
    base_width: int = 64
    stem: str = "imagenet"
    shortcut: str = "B"
    output_stride: int = 32
    attention: str = "none"
    activation: str = "relu"
    zero_init_last: bool = False
    drop_path_rate: float = 0.0
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features."""
        x, stride, maps = self._stem(images, train=train)
        self._check_output_stride(stride)
        dilation, previous = 1, x
        rates = iter(nn.rising_rates(self.drop_path_rate, sum(self.depths)))
        for stage, depth, width in nn.stages(self.depths, self.widths):
            previous = x
            for index in range(depth):
                down = 2 if stage > 0 and index == 0 else 1
                layers = self._layers(width, down)
                if stride * down > self.output_stride or dilation > 1:
                    layers, dilation = dilated(layers, dilation)
                else:
                    stride *= down
                block = Block(
                    layers=layers,
                    shortcut=nn.choose("shortcut", self.shortcut, {"A": "A", "B": "B", "D": "D"}),
                    attention=self.attention,
                    activation=self.activation,
                    zero_init_last=self.zero_init_last,
                    drop_path_rate=next(rates),
                    sync=self.sync,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )
                x = nn.remat(self.remat, block)(x, train=train)
            maps[stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)), (previous,) if dilation > 1 else ())

    def _stem(
        self, images: Image, *, train: bool
    ) -> tuple[Float[Array, "batch _ _ features"], int, dict[int, Array]]:
        """The stem's output, its stride, and the map before the pooling."""
        width = self.widths[0]
        stems = {
            "imagenet": ((width, 7, 2),),
            "deep": ((width // 2, 3, 2), (width // 2, 3, 1), (width, 3, 1)),
            "cifar": ((width, 3, 1),),
        }
        x, total = images, 1
        for index, (features, size, stride) in enumerate(nn.choose("stem", self.stem, stems)):
            number = index or ""
            conv = nn.Conv(
                features, size, stride=stride, dtype=self.dtype, name=f"stem_conv{number}"
            )
            norm = nn.BatchNorm(sync=self.sync, dtype=self.dtype, name=f"stem_norm{number}")
            x = nn.activation(self.activation)(norm(conv(x), train=train))
            total *= stride
        maps = {total: x}
        if self.stem != "cifar":
            x = ops.max_pool(x, 3, stride=2, padding=1)
            total *= 2
        return x, total, maps

    def _layers(self, width: int, stride: int) -> Layers:
        inner = width * self.base_width // 64 * self.groups
        last = Layer(4 * width, 1)
        blocks = {
            "basic": (Layer(width, 3, stride), Layer(width, 3)),
            "bottleneck": (Layer(inner, 1), Layer(inner, 3, stride, self.groups), last),
            "bottleneck_v1": (Layer(inner, 1, stride), Layer(inner, 3, 1, self.groups), last),
        }
        if self.block == "basic" and (self.groups, self.base_width) != (1, 64):
            raise UserError(
                "groups and base_width are of the bottleneck; this network has basic blocks"
            )
        return nn.choose("block", self.block, blocks)

    def _check_output_stride(self, stem_stride: int) -> None:
        wanted = self.output_stride
        if wanted < stem_stride or wanted & (wanted - 1):
            raise UserError(
                f"output_stride is {wanted}: it must be a power of two and at least {stem_stride},"
                " the stem's stride; dense tasks take 8 or 16"
            )
