"""EfficientNet, its compound scaling, and the one with fused convolutions (v2).

Tan & Le 2019, "EfficientNet: Rethinking model scaling for convolutional neural networks": table 1
and section 3.3, scaled as in the authors' code. Tan & Le 2021, "EfficientNetV2: Smaller models and
faster training": table 4, and the sizes m and l of the authors' code.

Differs from the papers: convolutions pad by the same number of zeros on all sides, as in
torchvision; `padding="same"` pads as TensorFlow does, where the authors' weights come from (timm's
`tf_` ones). b0 to b4 have torch's epsilon and momentum in batch norm, as torchvision's and timm's
weights for them do.

Convolutions are He-normal by fan-out and the classifier is uniform within 1 / sqrt(classes), as in
the authors' code.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_V1 = "Tan & Le, EfficientNet: Rethinking model scaling for convolutional neural networks"
_V2 = "Tan & Le, EfficientNetV2: Smaller models and faster training"

Image = Float[Array, "batch height width channels"]


class Stage(NamedTuple):
    """Blocks of one kind, as a row of the papers' tables says it.

    Attributes:
        features: Channels of the output, before the width multiplier.
        depth: How many blocks, before the depth multiplier.
        stride: Of the first block.
        expansion: Channels inside a block by those of its input; at 1 nothing expands.
        kernel_size: Of the convolution that sees neighbouring pixels.
        fused: Whether that one also expands, in place of a 1x1 convolution and a depthwise one.
    """

    features: int
    depth: int
    stride: int = 1
    expansion: int = 1
    kernel_size: int = 3
    fused: bool = False


_V1_STAGES = (
    Stage(16, 1),
    Stage(24, 2, 2, 6),
    Stage(40, 2, 2, 6, 5),
    Stage(80, 3, 2, 6),
    Stage(112, 3, 1, 6, 5),
    Stage(192, 4, 2, 6, 5),
    Stage(320, 1, 1, 6),
)


def _v1(
    width: float, depth: float, dropout_rate: float, *, tensorflow: bool = False
) -> dict[str, Any]:
    """b0 by other multipliers, perhaps with the batch norm of the authors' TensorFlow."""
    row = {"width_multiplier": width, "depth_multiplier": depth, "dropout_rate": dropout_rate}
    norm = {"norm_momentum": 0.99, "norm_epsilon": 1e-3}
    return {"stages": _V1_STAGES, **row, **(norm if tensorflow else {})}


def _v2(
    widths: tuple[int, ...], depths: tuple[int, ...], dropout_rate: float, **fields: Any
) -> dict[str, Any]:
    """Three fused stages, then separable ones."""
    kinds = zip((1, 2, 2, 2, 1, 2, 1), (1, 4, 4, 4, 6, 6, 6), strict=True)
    stages = tuple(
        Stage(width, depth, stride, expansion, fused=index < 3)
        for index, (width, depth, (stride, expansion)) in enumerate(
            zip(widths, depths, kinds, strict=False)
        )
    )
    row = {"stem_width": widths[0], "norm_epsilon": 1e-3, "dropout_rate": dropout_rate}
    return {"stages": stages, **row, **fields}


_M = ((24, 48, 80, 160, 176, 304, 512), (3, 5, 5, 7, 14, 18, 5))
_L = ((32, 64, 96, 192, 224, 384, 640), (4, 7, 7, 10, 19, 25, 7))

VARIANTS: dict[str, dict[str, Any]] = {
    "efficientnet_b0": _v1(1.0, 1.0, 0.2),
    "efficientnet_b1": _v1(1.0, 1.1, 0.2),
    "efficientnet_b2": _v1(1.1, 1.2, 0.3),
    "efficientnet_b3": _v1(1.2, 1.4, 0.3),
    "efficientnet_b4": _v1(1.4, 1.8, 0.4),
    "efficientnet_b5": _v1(1.6, 2.2, 0.4, tensorflow=True),
    "efficientnet_b6": _v1(1.8, 2.6, 0.5, tensorflow=True),
    "efficientnet_b7": _v1(2.0, 3.1, 0.5, tensorflow=True),
    "efficientnet_v2_s": _v2((24, 48, 64, 128, 160, 256), (2, 4, 4, 6, 9, 15), 0.2),
    "efficientnet_v2_m": _v2(*_M, 0.3),
    "efficientnet_v2_l": _v2(*_L, 0.4),
    "efficientnet_test": {
        "stages": (
            Stage(8, 2, fused=True),
            Stage(8, 1, 2, 2, fused=True),
            Stage(8, 1),
            Stage(16, 2, 2, 3, 5),
        ),
        "stem_width": 8,
        "last_width": 24,
    },
}
_IMAGE_SIZES = {
    **dict(zip("01234567", (224, 240, 260, 300, 380, 456, 528, 600), strict=True)),
    "s": 384,
    "m": 480,
    "l": 480,
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith("_test"):
        return Source(_V2, 2021, image_size=32, num_classes=10)
    paper, year = (_V2, 2021) if "_v2_" in name else (_V1, 2019)
    return Source(paper, year, image_size=_IMAGE_SIZES[name[-1]])


class Block(linen.Module):
    """More channels, a convolution, channels weighted, and fewer channels; added where it fits.

    Attributes:
        stage: What the block is.
        padding: As in `Backbone`.
        drop_path_rate: Probability that an example goes without the branch.
        style: Of its layers.
    """

    stage: Stage
    padding: str
    drop_path_rate: float
    style: nn.Style

    @linen.compact
    def __call__(
        self, x: Image, *, train: bool
    ) -> Float[Array, "batch new_height new_width features"]:
        """The block's output."""
        stage, style = self.stage, self.style
        fused, features = stage.fused, stage.features
        width, act = stage.expansion * x.shape[-1], style.activation
        y = x
        if stage.expansion > 1 and not fused:
            y = nn.conv_norm(
                y, "expand", style, train=train, activation=act, features=width, kernel_size=1
            )
        y = nn.conv_norm(
            y,
            "fused" if fused else "depthwise",
            style,
            train=train,
            activation=act,
            # Without an expansion there is nothing to project.
            features=features if fused and stage.expansion == 1 else width,
            kernel_size=stage.kernel_size,
            stride=stage.stride,
            padding=_padding(self.padding, y, stage.kernel_size, stage.stride),
            groups=1 if fused else width,
        )
        if not fused:
            # A quarter of the block's input, not of what it was expanded to.
            squeezed = max(1, x.shape[-1] // 4)
            y = nn.attention(
                style.attention,
                squeezed=squeezed,
                activation=act,
                sync=style.sync,
                dtype=style.dtype,
                name="squeeze",
            )(y, train=train)
        if stage.expansion > 1 or not fused:
            y = nn.conv_norm(y, "project", style, train=train, features=features, kernel_size=1)
        if x.shape != y.shape:
            return y
        return x + nn.DropPath(self.drop_path_rate)(y, train=train)


class Backbone(linen.Module):
    """The stem, the stages and the last convolution: images -> the last map at each stride.

    Attributes:
        stages: The blocks.
        stem_width: Channels of the first convolution.
        last_width: Channels of the 1x1 convolution after the blocks.
        width_multiplier: Of all channels, rounded to multiples of 8.
        depth_multiplier: Of the blocks of each stage, rounded up.
        padding: `symmetric`, or `same` as TensorFlow pads.
        activation: As in `nn.activation`.
        attention: Of the blocks that are not fused, as in `nn.attention`: the papers' `se`, `eca`,
            `cbam` or `none`.
        drop_path_rate: Rises linearly over the blocks from 0 at the first, and would be reached by
            one after the last; the authors call it survival or drop-connect.
        norm_momentum: Of batch norm.
        norm_epsilon: Of batch norm.
        remat: Of each block, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    stages: tuple[Stage, ...]
    stem_width: int = 32
    last_width: int = 1280
    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    padding: str = "symmetric"
    activation: str = "silu"
    attention: str = "se"
    drop_path_rate: float = 0.2
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features."""
        act, scale = self.activation, self.width_multiplier
        style = nn.Style(
            act,
            self.attention,
            self.norm_momentum,
            self.norm_epsilon,
            self.sync,
            self.dtype,
        )
        x = nn.conv_norm(
            images,
            "stem",
            style,
            train=train,
            activation=act,
            features=nn.make_divisible(scale * self.stem_width),
            kernel_size=3,
            stride=2,
            padding=_padding(self.padding, images, 3, 2),
        )
        stride, maps = 2, {2: x}
        depths = [math.ceil(self.depth_multiplier * stage.depth) for stage in self.stages]
        rates = iter(nn.rising_rates(self.drop_path_rate, sum(depths) + 1))
        for number, (stage, depth) in enumerate(zip(self.stages, depths, strict=True)):
            scaled = stage._replace(features=nn.make_divisible(scale * stage.features))
            for index in range(depth):
                block = Block(
                    scaled._replace(stride=1) if index else scaled,
                    self.padding,
                    next(rates),
                    style,
                    name=f"stage{number}_block{index}",
                )
                x = nn.remat(self.remat, block)(x, train=train)
            stride *= stage.stride
            maps[stride] = x
        width = nn.make_divisible(scale * self.last_width)
        x = maps[stride] = nn.conv_norm(
            x, "last", style, train=train, activation=act, features=width, kernel_size=1
        )
        return Features(maps, jnp.mean(x, axis=(1, 2)))


class Head(linen.Module):
    """Dropout and a dense layer on the pooled features.

    Attributes:
        num_classes: How many logits.
        dropout_rate: Before the logits.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    dropout_rate: float = 0.2
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        init = variance_scaling(1 / 3, "fan_out", "uniform")
        x = linen.Dropout(self.dropout_rate)(features.pooled, deterministic=not train)
        x = linen.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))


def _padding(kind: str, x: Image, kernel_size: int, stride: int) -> ops.Padding:
    half = kernel_size // 2
    same = ops.same_padding(x.shape[1:3], kernel_size, stride)
    return nn.choose("padding", kind, {"symmetric": half, "same": same})
