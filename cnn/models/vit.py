"""Vision transformer.

Dosovitskiy et al. 2021, "An image is worth 16x16 words": section 3.1 and table 1. Ti and S are
Touvron et al. 2021, "Training data-efficient image transformers" (DeiT), table 1, `distilled` its
section 4: a second token and classifier for a teacher's labels. `deit3` is Touvron et al. 2022,
"DeiT III", section 3: LayerScale (Touvron et al. 2021, "Going deeper with image transformers",
section 2), and positions for the patches only.

Differs from the paper: the head is one dense layer also in pre-training, as in DeiT and
torchvision; `representation_size` puts the paper's tanh layer before it. `pool="gap"` has no class
token and averages the patches after the last norm, as in big_vision. DeiT III has the same drop
path rate in all blocks, here it rises as in DeiT. `position="sincos2d"` has big_vision's wave
lengths, the last of which is 10000 patches; MoCo v3's and MAE's fall one step short of it.

Weights are normal with deviation 0.02 and biases 0, as in DeiT's code, which names the distribution
truncated but cuts at a hundred deviations. The patch embedding keeps the variance of its input, as
in torchvision.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import constant, lecun_normal, normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_VIT = "Dosovitskiy et al., An image is worth 16x16 words"
_DEIT = "Touvron et al., Training data-efficient image transformers"
_DEIT3 = "Touvron et al., DeiT III: Revenge of the ViT"
_init = normal(0.02)

TOKENS = {"token": ("class_token",), "distilled": ("class_token", "distillation_token"), "gap": ()}
"""The tokens before the patches, by `pool`."""

Tokens = Float[Array, "batch tokens width"]


def _row(patch_size: int, width: int, depth: int, num_heads: int) -> dict[str, Any]:
    return {"patch_size": patch_size, "width": width, "depth": depth, "num_heads": num_heads}


def _deit3(patch_size: int, width: int, depth: int, num_heads: int) -> dict[str, Any]:
    row = _row(patch_size, width, depth, num_heads)
    return {**row, "position": "learned_patches", "layer_scale": 1e-4}


VARIANTS: dict[str, dict[str, Any]] = {
    "vit_ti_16": _row(16, 192, 12, 3),
    "vit_s_16": _row(16, 384, 12, 6),
    "vit_s_32": _row(32, 384, 12, 6),
    "vit_b_16": _row(16, 768, 12, 12),
    "vit_b_32": _row(32, 768, 12, 12),
    "vit_l_16": _row(16, 1024, 24, 16),
    "vit_l_32": _row(32, 1024, 24, 16),
    "vit_l_14": _row(14, 1024, 24, 16),
    "vit_h_14": _row(14, 1280, 32, 16),
    "deit_ti_16_distilled": {**_row(16, 192, 12, 3), "pool": "distilled"},
    "deit_s_16_distilled": {**_row(16, 384, 12, 6), "pool": "distilled"},
    "deit_b_16_distilled": {**_row(16, 768, 12, 12), "pool": "distilled"},
    "deit3_s_16": _deit3(16, 384, 12, 6),
    "deit3_b_16": _deit3(16, 768, 12, 12),
    "deit3_l_16": _deit3(16, 1024, 24, 16),
    "deit3_h_14": _deit3(14, 1280, 32, 16),
    "vit_test": _row(8, 32, 2, 2),
    "deit_test": {**_deit3(8, 32, 2, 2), "pool": "distilled"},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith("_test"):
        return Source(_VIT, 2020, image_size=32, num_classes=10)
    if name.startswith("deit3"):
        return Source(_DEIT3, 2022)
    deit = name.startswith(("vit_ti", "vit_s", "deit"))
    return Source(_DEIT, 2020) if deit else Source(_VIT, 2020)


class Attention(linen.Module):
    """Multi-head self-attention, Vaswani et al. 2017, section 3.2.

    Attributes:
        num_heads: Parts of the width that attend by themselves.
        dropout_rate: Of the attention weights.
        dtype: Of the computation; the softmax is float32 or wider.
    """

    num_heads: int
    dropout_rate: float
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Tokens, *, train: bool) -> Tokens:
        """What each token gathers from all tokens."""
        batch, tokens, width = x.shape
        size = width // self.num_heads

        def heads(name: str) -> Float[Array, "batch tokens heads size"]:
            y = nn.Dense(width, kernel_init=_init, dtype=self.dtype, name=name)(x)
            return y.reshape(batch, tokens, self.num_heads, size)

        query, key, value = heads("query"), heads("key"), heads("value")
        wide = jnp.promote_types(self.dtype, jnp.float32)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query * size**-0.5, key, preferred_element_type=wide)
        weights = ops.softmax(scores, self.dtype)
        weights = linen.Dropout(self.dropout_rate)(weights, deterministic=not train)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
        return nn.Dense(width, kernel_init=_init, dtype=self.dtype, name="out")(y)


class Block(linen.Module):
    """Attention and two dense layers, each after a norm and added to its input.

    Attributes:
        num_heads: Of the attention.
        mlp_ratio: Units of the hidden layer by the width.
        activation: Of the hidden layer.
        layer_scale: What each channel of a branch is multiplied by at the start; 0 is none.
        dropout_rate: Of both branches and the hidden layer.
        attention_dropout_rate: Of the attention weights.
        drop_path_rate: Probability that an example goes without a branch.
        dtype: Of the computation.
    """

    num_heads: int
    mlp_ratio: int
    activation: str
    layer_scale: float
    dropout_rate: float
    attention_dropout_rate: float
    drop_path_rate: float
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Tokens, *, train: bool) -> Tokens:
        """The block's output."""

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, kernel_init=_init, dtype=self.dtype, name=name)

        def dropout(y: Tokens) -> Tokens:
            return linen.Dropout(self.dropout_rate)(y, deterministic=not train)

        def branch(y: Tokens, name: str) -> Tokens:
            y = dropout(y)
            if self.layer_scale:
                init = constant(self.layer_scale)
                scale = self.param(f"{name}_scale", init, y.shape[-1:], jnp.float32)
                y = y * scale.astype(self.dtype).reshape(1, 1, -1)
            return nn.DropPath(self.drop_path_rate)(y, train=train)

        y = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        attention = Attention(
            self.num_heads, self.attention_dropout_rate, self.dtype, name="attention"
        )
        x = x + branch(attention(y, train=train), "attention")
        y = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = nn.activation(self.activation)(dense(self.mlp_ratio * x.shape[-1], "expand")(y))
        return x + branch(dense(x.shape[-1], "project")(dropout(y)), "mlp")


class Backbone(linen.Module):
    """Patches, their positions and the blocks: images -> one map at the patches' stride.

    Attributes:
        patch_size: Height and width of a patch; divides the image's.
        width: Of a token.
        depth: How many blocks.
        num_heads: Of the attention; divides `width`.
        mlp_ratio: Units of a block's hidden layer by the width.
        pool: `token`: the class token is the pooled vector; `gap`: there is none, and the mean of
            the patches is; `distilled`: the class token is, and a distillation token is the one
            auxiliary map, of 1x1.
        position: `learned`: an embedding of all tokens; `learned_patches`: of the patches only;
            `sincos2d`: of the patches, without parameters, see `ops.sincos2d_positions`.
        position_grid: Rows and columns that a learned embedding is for. Images with other patches
            get it resampled, see `ops.resample_positions`. None: those of the images that the
            parameters are made with, and no others.
        layer_scale: What each branch is multiplied by at the start; 0 is none.
        activation: Of the hidden layers, as in `nn.activation`.
        dropout_rate: Of the tokens, branches and hidden layers.
        attention_dropout_rate: Of the attention weights.
        drop_path_rate: Of the last block's branches; rises linearly from 0 at the first.
        remat: Of each block, as in `nn.remat`.
        dtype: Of the computation.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int = 4
    pool: str = "token"
    position: str = "learned"
    position_grid: tuple[int, ...] | None = None
    layer_scale: float = 0.0
    activation: str = "gelu"
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str = "none"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features, after the last norm."""
        prefix = nn.choose("pool", self.pool, TOKENS)
        if self.width % self.num_heads:
            raise UserError(f"num_heads is {self.num_heads}, which does not divide {self.width}")
        patches = self._patches(images)
        x = self._positioned(patches, prefix)
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        for index, rate in enumerate(nn.rising_rates(self.drop_path_rate, self.depth)):
            block = Block(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                activation=self.activation,
                layer_scale=self.layer_scale,
                dropout_rate=self.dropout_rate,
                attention_dropout_rate=self.attention_dropout_rate,
                drop_path_rate=rate,
                dtype=self.dtype,
                name=f"block{index}",
            )
            x = nn.remat(self.remat, block)(x, train=train)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        rest = x[:, len(prefix) :]
        pooled = x[:, 0] if prefix else jnp.mean(rest, axis=1)
        others = tuple(x[:, i].reshape(-1, 1, 1, self.width) for i in range(1, len(prefix)))
        return Features({self.patch_size: rest.reshape(patches.shape)}, pooled, others)

    def _patches(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch rows columns features"]:
        height, width = images.shape[1:3]
        if not height or not width or height % self.patch_size or width % self.patch_size:
            raise UserError(
                f"images of {height}x{width} are no whole number of {self.patch_size}-pixel"
                " patches; resize them, or override patch_size"
            )
        return nn.Conv(
            self.width,
            self.patch_size,
            stride=self.patch_size,
            padding=0,
            use_bias=True,
            kernel_init=lecun_normal(),
            dtype=self.dtype,
            name="stem_conv",
        )(images)

    def _positioned(
        self, patches: Float[Array, "batch rows columns width"], prefix: tuple[str, ...]
    ) -> Tokens:
        """The tokens of that name and the patches, those with their positions that have one."""
        batch, rows, columns, width = patches.shape
        grid = rows, columns
        tokens = [jnp.broadcast_to(self._token(name), (batch, 1, width)) for name in prefix]
        x = patches.reshape(batch, -1, width)
        makers = {
            "learned": functools.partial(self._embedding, grid, len(prefix)),
            "learned_patches": functools.partial(self._embedding, grid, 0),
            "sincos2d": functools.partial(ops.sincos2d_positions, grid, width),
        }
        positions = nn.choose("position", self.position, makers)().astype(self.dtype)
        if self.position == "learned":
            return jnp.concatenate([*tokens, x], axis=1) + positions
        return jnp.concatenate([*tokens, x + positions], axis=1)

    def _token(self, name: str) -> Float[Array, "1 1 width"]:
        init = zeros if name == "class_token" else _init
        return self.param(name, init, (1, 1, self.width), jnp.float32).astype(self.dtype)

    def _embedding(self, grid: ops.Grid, num_prefix: int) -> Float[Array, "1 tokens width"]:
        old = self._grid(grid)
        shape = (1, num_prefix + old[0] * old[1], self.width)
        if self.has_variable("params", "position_embedding"):
            known = self.get_variable("params", "position_embedding").shape
            if known != shape and self.position_grid is None:
                raise UserError(
                    f"the position embedding is for {known[1]} tokens and these images have"
                    f" {shape[1]}; use images of the size it was made for, or override"
                    " position_grid with its rows and columns to have it resampled"
                )
            if known != shape:
                raise UserError(
                    f"the position embedding is for {known[1]} tokens and position_grid {old} makes"
                    f" {shape[1]}; give the rows and columns that it was made for"
                )
        embedding = self.param("position_embedding", _init, shape, jnp.float32)
        return ops.resample_positions(embedding, old, grid, num_prefix=num_prefix)

    def _grid(self, grid: ops.Grid) -> ops.Grid:
        """What a learned embedding is for, where the images have `grid`."""
        match self.position_grid:
            case None:
                return grid
            case (rows, columns) if rows > 0 and columns > 0:
                return rows, columns
        raise UserError(
            f"position_grid is {self.position_grid}: it is the rows and columns of patches"
        )


def layers_above(part: str, backbone: Backbone) -> int:
    """How many layers are above a part of the backbone: blocks, and 1 for the embedding.

    As BEiT counts (Bao et al. 2022): what embeds is below the first block, the last norm is of the
    head.
    """
    if part.startswith("block"):
        return backbone.depth - int(part.removeprefix("block"))
    return 0 if part == "norm" else backbone.depth + 1


class Head(linen.Module):
    """A dense layer on the pooled features; with a distillation token, the mean of it and another.

    The logits of the two are sown as `class` and `distillation` of the collection
    `distillation`, for training with a teacher, which has a loss for each; training without one
    and evaluation have the mean, as in DeiT's code.

    Attributes:
        num_classes: How many logits.
        representation_size: Units of a tanh layer on the pooled features; 0 is none.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    representation_size: int = 0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits; `train` changes nothing here."""
        del train

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, kernel_init=_init, dtype=self.dtype, name=name)

        wide = jnp.promote_types(self.dtype, jnp.float32)
        x = features.pooled
        if self.representation_size:
            x = linen.tanh(dense(self.representation_size, "hidden")(x))
        logits = dense(self.num_classes, "logits")(x).astype(wide)
        if not features.auxiliary:
            return logits
        (token,) = features.auxiliary
        others = dense(self.num_classes, "distillation_logits")(token[:, 0, 0]).astype(wide)
        # What is sown while the variables are made would be one of them.
        if not self.is_initializing():
            self.sow("distillation", "class", logits)
            self.sow("distillation", "distillation", others)
        return (logits + others) / 2
