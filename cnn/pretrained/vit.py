"""ViT: torchvision's names and timm's, which fuse queries, keys and values."""

from collections.abc import Callable
from typing import Any

from flax import linen

from cnn.pretrained.layout import Layout, Path, layout_of

_TORCHVISION = layout_of(
    {
        "backbone/class_token": "class_token",
        "backbone/position_embedding": "encoder.pos_embedding",
        "backbone/stem_conv": "conv_proj.",
        "backbone/block/attention_norm": lambda b: f"{_in_torchvision(b)}.ln_1.",
        "backbone/block/attention/query": lambda b: f"{_in_torchvision(b)}.self_attention.in_proj_",
        "backbone/block/attention/key": lambda b: f"{_in_torchvision(b)}.self_attention.in_proj_",
        "backbone/block/attention/value": lambda b: f"{_in_torchvision(b)}.self_attention.in_proj_",
        "backbone/block/attention/out": lambda b: f"{_in_torchvision(b)}.self_attention.out_proj.",
        "backbone/block/mlp_norm": lambda b: f"{_in_torchvision(b)}.ln_2.",
        "backbone/block/expand": lambda b: f"{_in_torchvision(b)}.mlp.0.",
        "backbone/block/project": lambda b: f"{_in_torchvision(b)}.mlp.3.",
        "backbone/norm": "encoder.ln.",
        "head/hidden": "heads.pre_logits.",
        "head/logits": "heads.head.",
    }
)
_TIMM = layout_of(
    {
        "backbone/class_token": "cls_token",
        "backbone/position_embedding": "pos_embed",
        "backbone/stem_conv": "patch_embed.proj.",
        "backbone/block/attention_norm": lambda b: f"blocks.{b}.norm1.",
        "backbone/block/attention/query": lambda b: f"blocks.{b}.attn.qkv.",
        "backbone/block/attention/key": lambda b: f"blocks.{b}.attn.qkv.",
        "backbone/block/attention/value": lambda b: f"blocks.{b}.attn.qkv.",
        "backbone/block/attention/out": lambda b: f"blocks.{b}.attn.proj.",
        "backbone/block/mlp_norm": lambda b: f"blocks.{b}.norm2.",
        "backbone/block/expand": lambda b: f"blocks.{b}.mlp.fc1.",
        "backbone/block/project": lambda b: f"blocks.{b}.mlp.fc2.",
        "backbone/norm": "norm.",
        "head/hidden": "pre_logits.fc.",
        "head/logits": "head.",
    }
)
_SHARED = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; first the one that has the network."""
    del overrides
    if name in _SHARED:
        return {"torchvision": _TORCHVISION, "timm": _TIMM}
    return {"timm": _TIMM, "torchvision": _TORCHVISION}


def image_size(
    backbone: linen.Module, shape_of: Callable[[Path], tuple[int, ...] | None]
) -> tuple[int, int] | None:
    """An image with as many patches as the weights have positions; None without positions."""
    positions = shape_of(("params", "backbone", "position_embedding"))
    if positions is None or len(positions) != 3:
        return None
    patch_size, pool = getattr(backbone, "patch_size", 1), getattr(backbone, "pool", "token")
    # In a row: how the patches were arranged is not in the weights, only how many there are.
    return patch_size, patch_size * max(positions[1] - (pool == "token"), 1)


def _in_torchvision(block: int) -> str:
    return f"encoder.layers.encoder_layer_{block}"
