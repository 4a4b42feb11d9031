"""ConvNeXt.

Liu et al. 2022, "A ConvNet for the 2020s": section 3 and appendix A.1. Atto to nano are the smaller
ones that Woo et al. 2023 and Wightman's timm defined.

`attention` is not the papers': after a branch's last dense layer, before its layer scale.

Weights are normal with deviation 0.02 and biases 0, as in the authors' code. It names the
distribution truncated, but cuts it at +-2, a hundred deviations.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import constant, normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.nn.family import Features, Source

_PAPER = "Liu et al., A ConvNet for the 2020s"
_init = normal(0.02)


def _row(width: int, *depths: int) -> dict[str, Any]:
    """A network whose width doubles from stage to stage."""
    return {"depths": depths, "widths": tuple(width << stage for stage in range(len(depths)))}


VARIANTS: dict[str, dict[str, Any]] = {
    "convnext_atto": _row(40, 2, 2, 6, 2),
    "convnext_femto": _row(48, 2, 2, 6, 2),
    "convnext_pico": _row(64, 2, 2, 6, 2),
    "convnext_nano": _row(80, 2, 2, 8, 2),
    "convnext_tiny": _row(96, 3, 3, 9, 3),
    "convnext_small": _row(96, 3, 3, 27, 3),
    "convnext_base": _row(128, 3, 3, 27, 3),
    "convnext_large": _row(192, 3, 3, 27, 3),
    "convnext_test": _row(8, 1, 1),
}


def source(name: str) -> Source:
    """The paper of a variant."""
    small = name.endswith("_test")
    return Source(_PAPER, 2022, image_size=32 if small else 224, num_classes=10 if small else 1000)


class Block(linen.Module):
    """A 7x7 depthwise convolution, a norm and two dense layers, added to the input.

    Attributes:
        layer_scale: What each channel of the branch is multiplied by at the start.
        attention: Before the layer scale, as in `nn.attention`.
        drop_path_rate: Probability that an example goes without the branch.
        axis_name: Of the batch norm that some attention has.
        dtype: Of the computation.
    """

    layer_scale: float
    attention: str
    drop_path_rate: float
    axis_name: str | None
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
        y = linen.Dense(4 * width, kernel_init=_init, dtype=self.dtype, name="expand")(y)
        y = nn.activation("gelu")(y)
        y = linen.Dense(width, kernel_init=_init, dtype=self.dtype, name="project")(y)
        weigh = nn.attention(self.attention, axis_name=self.axis_name, dtype=self.dtype)
        y = weigh(y, train=train)
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
        layer_scale: What each branch is multiplied by at the start.
        attention: In each block, as in `nn.attention`: `none`, `se`, `eca` or `cbam`.
        drop_path_rate: Of the last block's branch; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        axis_name: Of the batch norm in the attention `cbam`.
        dtype: Of the computation.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    patch_size: int = 4
    layer_scale: float = 1e-6
    attention: str = "none"
    drop_path_rate: float = 0.0
    remat: str = "none"
    axis_name: str | None = None
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features; pixels that do not fill a patch are left out, at the bottom and right."""
        x = self._patches("stem_conv", self.widths[0], self.patch_size)(images)
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
                    attention=self.attention,
                    drop_path_rate=next(rates),
                    axis_name=self.axis_name,
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
