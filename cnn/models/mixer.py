"""MLP-Mixer.

Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP architecture for vision": section 2 and table 1.

Differs from the paper: the last layer starts near 0, not at it. Weights keep the variance of their
input and biases are 0, as in the authors' code.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import lecun_normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_PAPER = "Tolstikhin et al., MLP-Mixer: An all-MLP architecture for vision"

Tokens = Float[Array, "batch tokens width"]


def _row(patch_size: int, width: int, depth: int, *units: int) -> dict[str, Any]:
    sizes = {"patch_size": patch_size, "width": width, "depth": depth}
    return {**sizes, "token_units": units[0], "channel_units": units[1]}


VARIANTS: dict[str, dict[str, Any]] = {
    "mixer_s_16": _row(16, 512, 8, 256, 2048),
    "mixer_b_16": _row(16, 768, 12, 384, 3072),
    "mixer_l_16": _row(16, 1024, 24, 512, 4096),
    "mixer_test": _row(8, 16, 2, 6, 24),
}


def source(name: str) -> Source:
    """The paper of a variant."""
    small = name.endswith("_test")
    return Source(_PAPER, 2021, image_size=32 if small else 224, num_classes=10 if small else 1000)


class Block(linen.Module):
    """Two dense layers across the patches, then two across the channels, each pair added.

    Attributes:
        token_units: Of the hidden layer across the patches.
        channel_units: Of the hidden layer across the channels.
        activation: After each hidden layer, as in `nn.activation`.
        drop_path_rate: Probability that an example goes without a branch.
        dtype: Of the computation.
    """

    token_units: int
    channel_units: int
    activation: str
    drop_path_rate: float
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Tokens, *, train: bool) -> Tokens:
        """The block's output."""
        self._check(x.shape[1])
        y = nn.LayerNorm(dtype=self.dtype, name="token_norm")(x)
        y = self._mlp("token", self.token_units, y.swapaxes(1, 2)).swapaxes(1, 2)
        x = x + nn.DropPath(self.drop_path_rate)(y, train=train)
        y = nn.LayerNorm(dtype=self.dtype, name="channel_norm")(x)
        y = self._mlp("channel", self.channel_units, y)
        return x + nn.DropPath(self.drop_path_rate)(y, train=train)

    def _mlp(
        self, name: str, units: int, x: Float[Array, "batch rows columns"]
    ) -> Float[Array, "batch rows columns"]:
        y = nn.Dense(units, dtype=self.dtype, name=f"{name}_expand")(x)
        y = nn.activation(self.activation)(y)
        return nn.Dense(x.shape[-1], dtype=self.dtype, name=f"{name}_project")(y)

    def _check(self, tokens: int) -> None:
        if self.has_variable("params", "token_expand"):
            known = self.get_variable("params", "token_expand")["kernel"].shape[0]
            if known != tokens:
                raise UserError(
                    f"the layers across patches are for {known} patches and these images have"
                    f" {tokens}; use images of the size they were made for"
                )


class Backbone(linen.Module):
    """Patches and the blocks: images -> one map at the patches' stride.

    Attributes:
        patch_size: Height and width of a patch; divides the image's.
        width: Channels of a patch.
        depth: How many blocks.
        token_units: Of each hidden layer across the patches: the paper's D_S.
        channel_units: Of each hidden layer across the channels: the paper's D_C.
        activation: After each hidden layer, as in `nn.activation`.
        drop_path_rate: Of the last block's branches; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        dtype: Of the computation.
    """

    patch_size: int
    width: int
    depth: int
    token_units: int
    channel_units: int
    activation: str = "gelu"
    drop_path_rate: float = 0.0
    remat: str = "none"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features, after the last norm."""
        height, width = images.shape[1:3]
        if not height or not width or height % self.patch_size or width % self.patch_size:
            raise UserError(
                f"images of {height}x{width} are no whole number of {self.patch_size}-pixel"
                " patches; resize them, or override patch_size"
            )
        patches = nn.Conv(
            self.width,
            self.patch_size,
            stride=self.patch_size,
            padding=0,
            use_bias=True,
            kernel_init=lecun_normal(),
            dtype=self.dtype,
            name="stem_conv",
        )(images)
        x = patches.reshape(patches.shape[0], -1, self.width)
        for index, rate in enumerate(nn.rising_rates(self.drop_path_rate, self.depth)):
            block = Block(
                token_units=self.token_units,
                channel_units=self.channel_units,
                activation=self.activation,
                drop_path_rate=rate,
                dtype=self.dtype,
                name=f"block{index}",
            )
            x = nn.remat(self.remat, block)(x, train=train)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        return Features({self.patch_size: x.reshape(patches.shape)}, jnp.mean(x, axis=1))


def layers_above(part: str, backbone: Backbone) -> int:
    """How many layers are above a part of the backbone: blocks, and 1 for the embedding.

    As BEiT counts (Bao et al. 2022): what embeds is below the first block, the last norm is of the
    head.
    """
    if part.startswith("block"):
        return backbone.depth - int(part.removeprefix("block"))
    return 0 if part == "norm" else backbone.depth + 1
