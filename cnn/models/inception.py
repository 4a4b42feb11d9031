"""Inception-v3.

Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision": table 1, figures 5
to 8 and 10.

Differs from the paper as the authors' code and torchvision do: the stem is of convolutions of 3x3,
3x3, 3x3, 1x1 and 3x3 and two poolings, a 5x5 is left in the modules of figure 5, the second
reduction has 7x7 kernels in two parts, and widths that the paper does not give are the code's.
Dropout before the last layer is torchvision's.

The auxiliary classifier averages its map by 5x5 windows at stride 3 where that leaves the 5x5 which
its convolution needs: from 17x17 on, so for images of 299x299. A smaller one is averaged, or
enlarged, to 5x5.

Weights are normal with deviation 0.1, in the auxiliary classifier's last two layers 0.01 and 0.001,
as in torchvision; it names the distribution truncated but cuts at +-2.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source
from cnn.ops.window import Pair, pair

_PAPER = "Szegedy et al., Rethinking the Inception architecture for computer vision"

Image = Float[Array, "batch height width channels"]


class Layer(NamedTuple):
    """One convolution of a branch.

    Attributes:
        kernel_size: Height and width of the kernel.
        halve: Whether it has stride 2, and no padding.
        twin: Whether the transposed kernel's convolution is beside it, on the same input.
    """

    kernel_size: Pair
    halve: bool = False
    twin: bool = False


_ONE, _THREE, _HALVE = Layer(1), Layer(3), Layer(3, halve=True)
_WIDE, _TALL, _BOTH = Layer((1, 7)), Layer((7, 1)), Layer((1, 3), twin=True)
BRANCHES: dict[str, tuple[tuple[Layer, ...], ...]] = {
    "A": ((_ONE,), (_ONE, Layer(5)), (_ONE, _THREE, _THREE)),
    "B": ((_HALVE,), (_ONE, _THREE, _HALVE)),
    "C": ((_ONE,), (_ONE, _WIDE, _TALL), (_ONE, _TALL, _WIDE, _TALL, _WIDE)),
    "D": ((_ONE, _HALVE), (_ONE, _WIDE, _TALL, _HALVE)),
    "E": ((_ONE,), (_ONE, _BOTH), (_ONE, _THREE, _BOTH)),
}
"""The branches of each kind of module but the pooling, by torchvision's letters: figure 5 (whose
first 3x3 pair is a 5x5 in the code), 10, 6, the second reduction, 7."""


class Module(NamedTuple):
    """One module.

    Attributes:
        kind: A letter of `BRANCHES`; B and D halve the map.
        widths: Channels of each convolution of each branch.
        pool: Channels of the 1x1 convolution after the pooling, which is an average; 0 in B and D,
            where the largest value of the input goes through as it is.
        auxiliary: Whether an auxiliary classifier reads the output.
    """

    kind: str
    widths: tuple[tuple[int, ...], ...]
    pool: int = 0
    auxiliary: bool = False


Stage = tuple[Module, ...]


def _a(pool: int) -> Module:
    return Module("A", ((64,), (48, 64), (64, 96, 96)), pool)


def _c(width: int, *, auxiliary: bool = False) -> Module:
    inner = (width, width, width, width, 192)
    return Module("C", ((192,), (width, width, 192), inner), 192, auxiliary)


_E = Module("E", ((320,), (384, 384), (448, 384, 384)), 192)
VARIANTS: dict[str, dict[str, Any]] = {
    "inception_v3": {
        "stages": (
            (_a(32), _a(64), _a(64)),
            (
                Module("B", ((384,), (64, 96, 96))),
                _c(128),
                _c(160),
                _c(160),
                _c(192, auxiliary=True),
            ),
            (Module("D", ((192, 320), (192, 192, 192, 192))), _E, _E),
        )
    },
    "inception_test": {
        "stages": (
            (Module("A", ((4,), (2, 4), (2, 4, 4)), 2),),
            (
                Module("B", ((4,), (2, 4, 4))),
                Module("E", ((4,), (4, 2), (2, 4, 2)), 2, auxiliary=True),
            ),
        ),
        "stem_widths": (4, 4, 6, 4, 8),
        "stem": "cifar",
        "auxiliary_widths": (4, 6),
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    small = name.endswith("_test")
    return Source(_PAPER, 2015, image_size=32 if small else 299, num_classes=10 if small else 1000)


class Style(NamedTuple):
    """What all convolutions of a network have in common.

    Attributes:
        sync: Of batch norm.
        dtype: Of the computation.
    """

    sync: nn.Sync
    dtype: DTypeLike


def _layer(
    x: Image, name: str, style: Style, *, train: bool, deviation: float = 0.1, **conv: Any
) -> Float[Array, "batch new_height new_width features"]:
    """A convolution and a norm of the module that calls, and ReLU."""
    init = normal(deviation)
    x = nn.Conv(**conv, kernel_init=init, dtype=style.dtype, name=f"{name}_conv")(x)
    norm = nn.BatchNorm(epsilon=1e-3, sync=style.sync, dtype=style.dtype, name=f"{name}_norm")
    return linen.relu(norm(x, train=train))


class Block(linen.Module):
    """An Inception module.

    Attributes:
        module: What it is.
        style: Of its convolutions.
    """

    module: Module
    style: Style

    @linen.compact
    def __call__(
        self, x: Image, *, train: bool
    ) -> Float[Array, "batch new_height new_width features"]:
        """The branches' outputs, one after another in the channels, the pooling's last."""
        kind, widths, pool, _ = self.module
        outputs = []
        for branch, layers in enumerate(nn.choose("kind of module", kind, BRANCHES)):
            y = x
            for index, (features, layer) in enumerate(zip(widths[branch], layers, strict=True)):
                y = self._conv(y, f"branch{branch}_layer{index}", features, layer, train=train)
            outputs.append(y)
        if pool:
            y = ops.avg_pool(x, 3, stride=1, padding=1)
            outputs.append(self._conv(y, "pool", pool, _ONE, train=train))
        else:
            outputs.append(ops.max_pool(x, 3, stride=2))
        return jnp.concatenate(outputs, axis=-1)

    def _conv(
        self, x: Image, name: str, features: int, layer: Layer, *, train: bool
    ) -> Float[Array, "batch new_height new_width new_features"]:
        conv = {"features": features, "kernel_size": layer.kernel_size}
        if layer.halve:
            conv = {**conv, "stride": 2, "padding": 0}
        y = _layer(x, name, self.style, train=train, **conv)
        if not layer.twin:
            return y
        conv["kernel_size"] = pair(layer.kernel_size)[::-1]
        twin = _layer(x, f"{name}_twin", self.style, train=train, **conv)
        return jnp.concatenate([y, twin], axis=-1)


class Backbone(linen.Module):
    """The stem and the modules: images -> the last map at each stride.

    Attributes:
        stages: The modules; each stage but the first begins with one that halves the map.
        stem_widths: Channels of the stem's convolutions.
        stem: `imagenet` (an eighth of the image's size, which is at least 75x75), or `cifar` (the
            same convolutions padded and without strides and poolings, for small images).
        transform_input: Whether images normalised by ImageNet's mean and deviation are brought to
            [-1, 1], as the weights that torchvision publishes expect.
        remat: Of each module, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    stages: tuple[Stage, ...]
    stem_widths: tuple[int, int, int, int, int] = (32, 32, 64, 80, 192)
    stem: str = "imagenet"
    transform_input: bool = False
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; auxiliary maps are those of the modules that say so."""
        style = Style(self.sync, self.dtype)
        x, stride, maps = self._stem(images, style, train=train)
        auxiliary = []
        for stage, modules in enumerate(self.stages):
            for index, module in enumerate(modules):
                block = Block(module, style, name=f"stage{stage}_block{index}")
                x = nn.remat(self.remat, block)(x, train=train)
                if not module.pool:
                    stride *= 2
                maps[stride] = x
                if module.auxiliary:
                    auxiliary.append(x)
        return Features(maps, jnp.mean(x, axis=(1, 2)), tuple(auxiliary))

    def _stem(
        self, images: Image, style: Style, *, train: bool
    ) -> tuple[Float[Array, "batch _ _ features"], int, dict[int, Array]]:
        """The stem's output, its stride, and the maps before its poolings."""
        reduce = nn.choose("stem", self.stem, {"imagenet": True, "cifar": False})
        x = ops.to_half_range(images) if self.transform_input else images
        stride, maps = 1, {}
        for index, (width, size) in enumerate(zip(self.stem_widths, (3, 3, 3, 1, 3), strict=True)):
            halve = reduce and index == 0
            x = _layer(
                x,
                f"stem{index}" if index else "stem",
                style,
                train=train,
                features=width,
                kernel_size=size,
                stride=2 if halve else 1,
                padding=0 if reduce and index != 2 else None,
            )
            stride *= 2 if halve else 1
            if index in (2, 4):
                maps[stride] = x
                if reduce:
                    x = ops.max_pool(x, 3, stride=2)
                    stride *= 2
        return x, stride, maps


class Auxiliary(linen.Module):
    """A classifier of a map on the way: figure 8.

    Attributes:
        num_classes: How many logits.
        widths: Channels of its two convolutions.
        style: Of its convolutions.
    """

    num_classes: int
    widths: tuple[int, int]
    style: Style

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> Float[Array, "batch classes"]:
        """The logits."""
        style, size = self.style, 5
        if min(x.shape[1:3]) >= 17:
            x = ops.avg_pool(x, 5, stride=3)
        else:
            x = ops.adaptive_avg_pool(x, size)
        reduced, features = self.widths
        x = _layer(x, "reduce", style, train=train, features=reduced, kernel_size=1)
        x = _layer(
            x,
            "last",
            style,
            train=train,
            deviation=0.01,
            features=features,
            kernel_size=size,
            padding=0,
        )
        return _logits(jnp.mean(x, axis=(1, 2)), self.num_classes, style, deviation=0.001)


class Head(linen.Module):
    """Dropout and a dense layer, and in training the auxiliary classifier.

    The logits of the auxiliary classifier are in the collection `auxiliary` where that is mutable;
    in evaluation they are not computed.

    Attributes:
        num_classes: How many logits.
        auxiliary: Whether there is an auxiliary classifier.
        auxiliary_widths: Channels of its two convolutions.
        dropout_rate: Of the pooled features.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    auxiliary: bool = True
    auxiliary_widths: tuple[int, int] = (128, 768)
    dropout_rate: float = 0.5
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        style = Style(self.sync, self.dtype)
        if self.auxiliary and (train or self.is_initializing()):
            for index, x in enumerate(features.auxiliary):
                classifier = Auxiliary(
                    self.num_classes, self.auxiliary_widths, style, name=f"auxiliary{index}"
                )
                logits = classifier(x, train=train)
                if not self.is_initializing():
                    # `logits` is the name of the last layer.
                    self.sow("auxiliary", "auxiliary_logits", logits)
        x = linen.Dropout(self.dropout_rate)(features.pooled, deterministic=not train)
        return _logits(x, self.num_classes, style)


def _logits(
    x: Float[Array, "batch features"], num_classes: int, style: Style, *, deviation: float = 0.1
) -> Float[Array, "batch classes"]:
    """The last layer of the module that calls."""
    dense = linen.Dense(
        num_classes, kernel_init=normal(deviation), dtype=style.dtype, name="logits"
    )
    return dense(x).astype(jnp.promote_types(style.dtype, jnp.float32))
