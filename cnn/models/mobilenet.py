"""MobileNet, its inverted residual (v2), and the searched one with squeeze-and-excitation (v3).

Howard et al. 2017, "MobileNets": table 1. Sandler et al. 2018, "MobileNetV2": table 2. Howard et
al. 2019, "Searching for MobileNetV3": tables 1 and 2.

Differs from the papers: v1 has ReLU6, as in its authors' code. A changed `width_multiplier` rounds
to multiples of 8 as TensorFlow's and timm's networks do; in v3 it leaves the head's hidden layer as
it is.

Convolutions are He-normal by fan-out, as in torchvision; dense layers are normal with deviation
0.01, as there.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_V1 = "Howard et al., MobileNets: efficient convolutional neural networks for mobile vision"
_V2 = "Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks"
_V3 = "Howard et al., Searching for MobileNetV3"

Image = Float[Array, "batch height width channels"]


class Row(NamedTuple):
    """One block, as a row of the papers' tables says it.

    Attributes:
        features: Channels of the output, before the width multiplier.
        stride: Of the depthwise convolution.
        expansion: Channels of the depthwise convolution by those of the input; at 1 nothing
            expands.
        kernel_size: Of the depthwise convolution.
        squeeze: Whether channels are weighted, by squeeze-and-excitation at a quarter of them or
            what the network has in its place.
        activation: As in `nn.activation`; empty is the network's.
        residual: Whether the last convolution is linear, and the input added where the shape stays.
        dilation: Of the depthwise convolution.
    """

    features: int
    stride: int = 1
    expansion: float = 1
    kernel_size: int = 3
    squeeze: bool = False
    activation: str = ""
    residual: bool = True
    dilation: int = 1


Stage = tuple[Row, ...]


def _stage(features: int, depth: int, stride: int, *fields: Any, **others: Any) -> Stage:
    """That many blocks of one kind, of which the first has the stride."""
    return tuple(Row(features, 1 if index else stride, *fields, **others) for index in range(depth))


_V1_STAGES = tuple(
    _stage(width, depth, stride, residual=False)
    for width, depth, stride in ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
)
_V2_STAGES = (
    _stage(16, 1, 1),
    _stage(24, 2, 2, 6),
    _stage(32, 3, 2, 6),
    _stage(64, 4, 2, 6),
    _stage(96, 3, 1, 6),
    _stage(160, 3, 2, 6),
    _stage(320, 1, 1, 6),
)
_LARGE_STAGES = (
    (Row(16, activation="relu"),),
    (Row(24, 2, 4, activation="relu"), Row(24, 1, 3, activation="relu")),
    _stage(40, 3, 2, 3, 5, True, "relu"),
    (Row(80, 2, 6), Row(80, 1, 2.5), Row(80, 1, 2.3), Row(80, 1, 2.3)),
    _stage(112, 2, 1, 6, 3, True),
    _stage(160, 3, 2, 6, 5, True),
)
_SMALL_STAGES = (
    (Row(16, 2, 1, 3, True, "relu"),),
    (Row(24, 2, 4.5, activation="relu"), Row(24, 1, 3.67, activation="relu")),
    (Row(40, 2, 4, 5, True), *_stage(40, 2, 1, 6, 5, True)),
    _stage(48, 2, 1, 3, 5, True),
    _stage(96, 3, 2, 6, 5, True),
)
_TEST_STAGES = ((Row(8, squeeze=True, activation="relu"),), (Row(8, 2, 3), Row(8, 1, 2, 5, True)))


def _v3(stages: tuple[Stage, ...], last_width: int, hidden_size: int) -> dict[str, Any]:
    return {
        "stages": stages,
        "stem_width": 16,
        "last_width": last_width,
        "activation": "hard_swish",
        "norm_momentum": 0.99,
        "norm_epsilon": 1e-3,
        "hidden_size": hidden_size,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"stages": _V1_STAGES},
    "mobilenet_v2": {"stages": _V2_STAGES, "last_width": 1280, "keep_last": True},
    "mobilenet_v3_large": _v3(_LARGE_STAGES, 960, 1280),
    "mobilenet_v3_small": _v3(_SMALL_STAGES, 576, 1024),
    "mobilenet_test": {**_v3(_TEST_STAGES, 16, 8), "stem_width": 8},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith("_test"):
        return Source(_V3, 2019, image_size=32, num_classes=10)
    return {"1": Source(_V1, 2017), "2": Source(_V2, 2018)}.get(name[11], Source(_V3, 2019))


class Block(linen.Module):
    """A 1x1 convolution to more channels, a depthwise one, and a 1x1 convolution to fewer.

    Attributes:
        row: What the block is.
        style: Of its layers.
    """

    row: Row
    style: nn.Style

    @linen.compact
    def __call__(
        self, x: Image, *, train: bool
    ) -> Float[Array, "batch new_height new_width features"]:
        """The block's output."""
        row, style = self.row, self.style
        act = row.activation or style.activation
        y = x
        if row.expansion != 1:
            width = nn.make_divisible(row.expansion * x.shape[-1])
            y = nn.conv_norm(
                y, "expand", style, train=train, activation=act, features=width, kernel_size=1
            )
        width = y.shape[-1]
        y = nn.conv_norm(
            y,
            "depthwise",
            style,
            train=train,
            activation=act,
            features=width,
            kernel_size=row.kernel_size,
            stride=row.stride,
            dilation=row.dilation,
            groups=width,
        )
        if row.squeeze:
            y = nn.attention(
                style.attention,
                squeezed=nn.make_divisible(width / 4),
                gate="hard_sigmoid",
                sync=style.sync,
                dtype=style.dtype,
                name="squeeze",
            )(y, train=train)
        last = "" if row.residual else act
        y = nn.conv_norm(
            y, "project", style, train=train, activation=last, features=row.features, kernel_size=1
        )
        return x + y if row.residual and x.shape == y.shape else y


class Backbone(linen.Module):
    """The stem, the stages and the last convolution: images -> the last map at each stride.

    Attributes:
        stages: The blocks of each stage.
        stem_width: Channels of the first convolution.
        last_width: Channels of a 1x1 convolution after the blocks; 0 is none.
        keep_last: Whether a width multiplier below 1 leaves the last convolution as it is.
        width_multiplier: Of all channels: the papers' alpha.
        output_stride: The largest stride; a power of two, at least 2. A block that would go beyond
            it is dilated instead, and so are all behind it, as in torchvision's `dilated`: there
            the stride's own block is, too.
        activation: As in `nn.activation`; of blocks whose row has none, and of what is around them.
        attention: Of the rows that squeeze, as in `nn.attention`: v3's `se`, `eca`, `cbam` or
            `none`.
        norm_momentum: Of batch norm.
        norm_epsilon: Of batch norm.
        remat: Of each block, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    stages: tuple[Stage, ...]
    stem_width: int = 32
    last_width: int = 0
    keep_last: bool = False
    width_multiplier: float = 1.0
    output_stride: int = 32
    activation: str = "relu6"
    attention: str = "se"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; auxiliary maps are the first at each stride, from 2 on."""
        self._check_output_stride()
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
        )
        stride, dilation, maps, first = 2, 1, {2: x}, [x]
        for stage, rows in enumerate(self.stages):
            for index, row in enumerate(rows):
                down = row.stride
                if stride * down > self.output_stride:
                    dilation, down = dilation * down, 1
                width = nn.make_divisible(scale * row.features)
                scaled = row._replace(features=width, stride=down, dilation=dilation)
                block = Block(scaled, style, name=f"stage{stage}_block{index}")
                x = nn.remat(self.remat, block)(x, train=train)
                stride *= down
                maps[stride] = x
                if down > 1:
                    first.append(x)
        if self.last_width:
            width = nn.make_divisible(
                self.last_width * (max(scale, 1) if self.keep_last else scale)
            )
            x = maps[stride] = nn.conv_norm(
                x, "last", style, train=train, activation=act, features=width, kernel_size=1
            )
        return Features(maps, jnp.mean(x, axis=(1, 2)), tuple(first))

    def _check_output_stride(self) -> None:
        wanted = self.output_stride
        if wanted < 2 or wanted & (wanted - 1):
            raise UserError(
                f"output_stride is {wanted}: it must be a power of two and at least 2, the stem's"
                " stride; dense tasks take 16"
            )


class Head(linen.Module):
    """A hidden layer where the row has one, dropout and a dense layer.

    Attributes:
        num_classes: How many logits.
        hidden_size: Units of the hidden layer; 0 is none.
        activation: After the hidden layer, as in `nn.activation`.
        dropout_rate: Before the logits; the papers of v2 and v3 have 0.2.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    hidden_size: int = 0
    activation: str = "hard_swish"
    dropout_rate: float = 0.0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""

        def dense(size: int, name: str) -> linen.Dense:
            return linen.Dense(size, kernel_init=normal(0.01), dtype=self.dtype, name=name)

        x = features.pooled
        if self.hidden_size:
            x = nn.activation(self.activation)(dense(self.hidden_size, "hidden")(x))
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        x = dense(self.num_classes, "logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
