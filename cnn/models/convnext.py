"""ConvNeXt and ConvNeXt V2.

Liu et al. 2022, "A ConvNet for the 2020s": section 3 and appendix A.1; `iso` are the isotropic ones
of section 3.3, which keep one resolution and one width as ViT does, without a norm after the stem
and without layer scale. Woo et al. 2023, "ConvNeXt V2": section 3 and appendix A.1, where global
response normalisation takes the place of layer scale; V1's atto to nano are Wightman's in timm.

`attention` is not the papers': after a branch's last dense layer, before its layer scale.

Weights are normal with deviation 0.02 and biases 0, as in the authors' code. It names the
distribution truncated, but cuts it at +-2, a hundred deviations.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import constant, normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.nn.family import Features, Source

_V1 = "Liu et al., A ConvNet for the 2020s"
_V2 = "Woo et al., ConvNeXt V2: Co-designing and scaling ConvNets with masked autoencoders"
_init = normal(0.02)


def _row(width: int, *depths: int) -> dict[str, Any]:
    """A network whose width doubles from stage to stage."""
    return {"depths": depths, "widths": tuple(width << stage for stage in range(len(depths)))}


def _v2(width: int, *depths: int) -> dict[str, Any]:
    return {**_row(width, *depths), "layer_scale": 0.0, "response_norm": True}


def _isotropic(width: int, depth: int) -> dict[str, Any]:
    """One stage at the resolution of ViT's patches."""
    return {**_row(width, depth), "patch_size": 16, "stem_norm": False, "layer_scale": 0.0}


VARIANTS: dict[str, dict[str, Any]] = {
    "convnext_atto": _row(40, 2, 2, 6, 2),
    "convnext_femto": _row(48, 2, 2, 6, 2),
    "convnext_pico": _row(64, 2, 2, 6, 2),
    "convnext_nano": _row(80, 2, 2, 8, 2),
    "convnext_tiny": _row(96, 3, 3, 9, 3),
    "convnext_small": _row(96, 3, 3, 27, 3),
    "convnext_base": _row(128, 3, 3, 27, 3),
    "convnext_large": _row(192, 3, 3, 27, 3),
    "convnext_xlarge": _row(256, 3, 3, 27, 3),
    "convnext_iso_small": _isotropic(384, 18),
    "convnext_iso_base": _isotropic(768, 18),
    "convnext_iso_large": _isotropic(1024, 36),
    "convnextv2_atto": _v2(40, 2, 2, 6, 2),
    "convnextv2_femto": _v2(48, 2, 2, 6, 2),
    "convnextv2_pico": _v2(64, 2, 2, 6, 2),
    "convnextv2_nano": _v2(80, 2, 2, 8, 2),
    "convnextv2_tiny": _v2(96, 3, 3, 9, 3),
    "convnextv2_base": _v2(128, 3, 3, 27, 3),
    "convnextv2_large": _v2(192, 3, 3, 27, 3),
    "convnextv2_huge": _v2(352, 3, 3, 27, 3),
    "convnext_test": _row(8, 1, 1),
    "convnextv2_test": _v2(8, 1, 1),
}


def source(name: str) -> Source:
    """The paper of a variant."""
    paper, year = (_V2, 2023) if name.startswith("convnextv2") else (_V1, 2022)
    small = name.endswith("_test")
    return Source(paper, year, image_size=32 if small else 224, num_classes=10 if small else 1000)


class ResponseNorm(linen.Module):
    """Global response normalisation: channels compete by their norms over the image.

    Woo et al. 2023, section 3 and algorithm 1. At the start it is the identity.

    Attributes:
        dtype: Of the computation; the norms are float32 or wider.
    """

    dtype: DTypeLike

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        """The input and, added to it, the input weighted by its channels' relative norms."""
        channels = x.shape[-1]
        wide = jnp.promote_types(self.dtype, jnp.float32)
        squares = jnp.sum(jnp.square(x.astype(wide)), axis=(1, 2), keepdims=True)
        # A channel that the activation cuts off everywhere; the gradient of the root of 0 is NaN.
        dead = squares == 0
        norms = jnp.where(dead, 0, jnp.sqrt(jnp.where(dead, 1, squares)))
        relative = norms / (jnp.mean(norms, axis=-1, keepdims=True) + 1e-6)
        scale = self.param("scale", zeros, (channels,), jnp.float32).astype(self.dtype)
        bias = self.param("bias", zeros, (channels,), jnp.float32).astype(self.dtype)
        y = scale.reshape(1, 1, 1, -1) * (x * relative.astype(self.dtype))
        return x + y + bias.reshape(1, 1, 1, -1)


class Block(linen.Module):
    """A 7x7 depthwise convolution, a norm and two dense layers, added to the input.

    Attributes:
        layer_scale: What each channel of the branch is multiplied by at the start; 0 is none.
        response_norm: Whether there is a `ResponseNorm` after the activation.
        activation: Between the dense layers.
        attention: Before the layer scale, as in `nn.attention`.
        drop_path_rate: Probability that an example goes without the branch.
        sync: Of the batch norm that some attention has.
        dtype: Of the computation.
    """

    layer_scale: float
    response_norm: bool
    activation: str
    attention: str
    drop_path_rate: float
    sync: nn.Sync
    dtype: DTypeLike

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        """The block's output."""
        width = x.shape[-1]
        y = nn.Conv(
            width,
            7,
            groups=width,
            use_bias=True,
            kernel_init=_init,
            dtype=self.dtype,
            name="depthwise",
        )(x)
        y = nn.LayerNorm(dtype=self.dtype, name="norm")(y)
        y = nn.Dense(4 * width, kernel_init=_init, dtype=self.dtype, name="expand")(y)
        y = nn.activation(self.activation)(y)
        if self.response_norm:
            y = ResponseNorm(self.dtype, name="response_norm")(y)
        y = nn.Dense(width, kernel_init=_init, dtype=self.dtype, name="project")(y)
        weigh = nn.attention(self.attention, sync=self.sync, dtype=self.dtype)
        y = weigh(y, train=train)
        if self.layer_scale:
            scale = self.param("layer_scale", constant(self.layer_scale), (width,), jnp.float32)
            y = y * scale.astype(self.dtype).reshape(1, 1, 1, -1)
        return x + nn.DropPath(self.drop_path_rate)(y, train=train)


class Backbone(linen.Module):
    """The stem and the stages: images -> a map after each stage.

    Attributes:
        depths: Blocks in each stage; each stage but the first halves the map.
        widths: Channels of each stage.
        patch_size: Height and width of the stem's patches, which do not overlap. With the
            paper's 4 an image is at least 32x32; for 28x28 ones take 2 or 1.
        stem_norm: Whether there is a norm after the stem.
        layer_scale: What each branch is multiplied by at the start; 0 is none.
        response_norm: Whether each block has a `ResponseNorm`: V2.
        activation: Of each block, as in `nn.activation`.
        attention: In each block, as in `nn.attention`: `none`, `se`, `eca` or `cbam`.
        drop_path_rate: Of the last block's branch; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        sync: Of the batch norm in the attention `cbam`.
        dtype: Of the computation.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    patch_size: int = 4
    stem_norm: bool = True
    layer_scale: float = 1e-6
    response_norm: bool = False
    activation: str = "gelu"
    attention: str = "none"
    drop_path_rate: float = 0.0
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features; pixels that do not fill a patch are left out, at the bottom and right."""
        x = self._patches("stem_conv", self.widths[0], self.patch_size)(images)
        if self.stem_norm:
            x = nn.LayerNorm(dtype=self.dtype, name="stem_norm")(x)
        stride, maps = self.patch_size, {}
        rates = iter(nn.rising_rates(self.drop_path_rate, sum(self.depths)))
        for stage, depth, width in nn.stages(self.depths, self.widths):
            if stage > 0:
                x = nn.LayerNorm(dtype=self.dtype, name=f"stage{stage}_norm")(x)
                x = self._patches(f"stage{stage}_conv", width, 2)(x)
                stride *= 2
            for index in range(depth):
                block = Block(
                    layer_scale=self.layer_scale,
                    response_norm=self.response_norm,
                    activation=self.activation,
                    attention=self.attention,
                    drop_path_rate=next(rates),
                    sync=self.sync,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )
                x = nn.remat(self.remat, block)(x, train=train)
            maps[stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _patches(self, name: str, width: int, size: int) -> nn.Conv:
        return nn.Conv(
            width,
            size,
            stride=size,
            padding=0,
            use_bias=True,
            kernel_init=_init,
            dtype=self.dtype,
            name=name,
        )


def layers_above(part: str, backbone: Backbone) -> int:
    """How many layers are above a part of the backbone, by the groups of the paper's code.

    There are twelve: the first two stages, the third in groups of three blocks, the last. With
    fewer blocks in the third, as in T, numbers are left out. An isotropic network's are its blocks.
    """
    if part.startswith("stem"):
        stage, block = -1, 0
    else:
        first, _, last = part.partition("_")
        stage = int(first.removeprefix("stage"))
        block = int(last.removeprefix("block")) if last.startswith("block") else 0
    if len(backbone.depths) == 1:
        return backbone.depths[0] + (1 if stage < 0 else -block)
    if stage == len(backbone.depths) - 1:
        return 1
    return 12 - stage if stage < 2 else 10 - block // 3


class Head(linen.Module):
    """A norm of the pooled features and a dense layer.

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
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(features.pooled)
        x = linen.Dense(self.num_classes, kernel_init=_init, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
