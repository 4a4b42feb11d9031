"""Vision transformer.

Dosovitskiy et al. 2021, "An image is worth 16x16 words": section 3.1 and table 1. Ti and S are
Touvron et al. 2021, "Training data-efficient image transformers" (DeiT), table 1.

Differs from the paper: the head is one dense layer also in pre-training, as in DeiT and
torchvision; `representation_size` puts the paper's tanh layer before it. `pool="gap"` has no class
token and averages the patches after the last norm, as in big_vision.

Weights are normal with deviation 0.02 and biases 0, as in DeiT's code, which names the distribution
truncated but cuts at a hundred deviations. The patch embedding keeps the variance of its input, as
in torchvision.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import lecun_normal, normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_VIT = "Dosovitskiy et al., An image is worth 16x16 words"
_DEIT = "Touvron et al., Training data-efficient image transformers"
_init = normal(0.02)

Tokens = Float[Array, "batch tokens width"]


def _row(patch_size: int, width: int, depth: int, num_heads: int) -> dict[str, Any]:
    return {"patch_size": patch_size, "width": width, "depth": depth, "num_heads": num_heads}


VARIANTS: dict[str, dict[str, Any]] = {
    "vit_ti_16": _row(16, 192, 12, 3),
    "vit_s_16": _row(16, 384, 12, 6),
    "vit_s_32": _row(32, 384, 12, 6),
    "vit_b_16": _row(16, 768, 12, 12),
    "vit_b_32": _row(32, 768, 12, 12),
    "vit_l_16": _row(16, 1024, 24, 16),
    "vit_l_32": _row(32, 1024, 24, 16),
    "vit_h_14": _row(14, 1280, 32, 16),
    "vit_test": _row(8, 32, 2, 2),
}


def source(name: str) -> Source:
    """The paper of a variant."""
    if name.endswith("_test"):
        return Source(_VIT, 2020, image_size=32, num_classes=10)
    small = name.startswith(("vit_ti", "vit_s"))
    return Source(_DEIT, 2020) if small else Source(_VIT, 2020)


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
            y = linen.Dense(width, kernel_init=_init, dtype=self.dtype, name=name)(x)
            return y.reshape(batch, tokens, self.num_heads, size)

        query, key, value = heads("query"), heads("key"), heads("value")
        wide = jnp.promote_types(self.dtype, jnp.float32)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query * size**-0.5, key, preferred_element_type=wide)
        weights = jax.nn.softmax(scores).astype(self.dtype)
        weights = linen.Dropout(self.dropout_rate)(weights, deterministic=not train)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
        return linen.Dense(width, kernel_init=_init, dtype=self.dtype, name="out")(y)


class Block(linen.Module):
    """Attention and two dense layers, each after a norm and added to its input.

    Attributes:
        num_heads: Of the attention.
        mlp_ratio: Units of the hidden layer by the width.
        dropout_rate: Of both branches and the hidden layer.
        attention_dropout_rate: Of the attention weights.
        drop_path_rate: Probability that an example goes without a branch.
        dtype: Of the computation.
    """

    num_heads: int
    mlp_ratio: int
    dropout_rate: float
    attention_dropout_rate: float
    drop_path_rate: float
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Tokens, *, train: bool) -> Tokens:
        """The block's output."""

        def dense(features: int, name: str) -> linen.Dense:
            return linen.Dense(features, kernel_init=_init, dtype=self.dtype, name=name)

        def dropout(y: Tokens) -> Tokens:
            return linen.Dropout(self.dropout_rate)(y, deterministic=not train)

        y = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        attention = Attention(
            self.num_heads, self.attention_dropout_rate, self.dtype, name="attention"
        )
        x = x + nn.DropPath(self.drop_path_rate)(dropout(attention(y, train=train)), train=train)
        y = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = nn.activation("gelu")(dense(self.mlp_ratio * x.shape[-1], "expand")(y))
        y = dropout(dense(x.shape[-1], "project")(dropout(y)))
        return x + nn.DropPath(self.drop_path_rate)(y, train=train)


class Backbone(linen.Module):
    """Patches, their positions and the blocks: images -> one map at the patches' stride.

    Attributes:
        patch_size: Height and width of a patch; divides the image's.
        width: Of a token.
        depth: How many blocks.
        num_heads: Of the attention; divides `width`.
        mlp_ratio: Units of a block's hidden layer by the width.
        pool: `token`: the class token is the pooled vector; `gap`: the mean of the patches is.
        dropout_rate: Of the tokens, branches and hidden layers.
        attention_dropout_rate: Of the attention weights.
        drop_path_rate: Of the last block's branches; rises linearly from 0 at the first.
        dtype: Of the computation.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int = 4
    pool: str = "token"
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features, after the last norm."""
        has_token = nn.choose("pool", self.pool, {"token": True, "gap": False})
        if self.width % self.num_heads:
            raise UserError(f"num_heads is {self.num_heads}, which does not divide {self.width}")
        patches = self._patches(images)
        x = patches.reshape(patches.shape[0], -1, self.width)
        if has_token:
            token = self.param("class_token", zeros, (1, 1, self.width), jnp.float32)
            token = jnp.broadcast_to(token.astype(self.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        x = x + self._positions(x.shape[1])
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        for index, rate in enumerate(nn.rising_rates(self.drop_path_rate, self.depth)):
            x = Block(
                num_heads=self.num_heads,
                mlp_ratio=self.mlp_ratio,
                dropout_rate=self.dropout_rate,
                attention_dropout_rate=self.attention_dropout_rate,
                drop_path_rate=rate,
                dtype=self.dtype,
                name=f"block{index}",
            )(x, train=train)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        pooled, rest = (x[:, 0], x[:, 1:]) if has_token else (jnp.mean(x, axis=1), x)
        return Features({self.patch_size: rest.reshape(patches.shape)}, pooled)

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

    def _positions(self, tokens: int) -> Float[Array, "1 tokens width"]:
        shape = (1, tokens, self.width)
        if self.has_variable("params", "position_embedding"):
            known = self.get_variable("params", "position_embedding").shape
            if known != shape:
                raise UserError(
                    f"the position embedding is for {known[1]} tokens and these images have"
                    f" {tokens}; use images of the size it was made for"
                )
        return self.param("position_embedding", _init, shape, jnp.float32).astype(self.dtype)


class Head(linen.Module):
    """A dense layer on the pooled features.

    Attributes:
        num_classes: How many logits.
        representation_size: Units of a tanh layer before it; 0 is none.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    representation_size: int = 0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits; `train` changes nothing here."""
        del train
        x = features.pooled
        if self.representation_size:
            hidden = linen.Dense(
                self.representation_size, kernel_init=_init, dtype=self.dtype, name="hidden"
            )
            x = linen.tanh(hidden(x))
        x = linen.Dense(self.num_classes, kernel_init=_init, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
