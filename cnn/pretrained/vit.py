"""ViT: torchvision's names and timm's, which are DeiT's; both fuse queries, keys and values.

DeiT III's own checkpoints (`official`) differ in the names of layer scales. timm's `fc_norm` is a
norm after the average, where `pool="gap"` has it before: such weights are of another network.
"""

from collections.abc import Callable
from typing import Any

from flax import linen

from cnn.models.vit import TOKENS, VARIANTS
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
_TIMM_NAMES = {
    "backbone/class_token": "cls_token",
    "backbone/distillation_token": "dist_token",
    "backbone/position_embedding": "pos_embed",
    "backbone/stem_conv": "patch_embed.proj.",
    "backbone/block/attention_norm": lambda b: f"blocks.{b}.norm1.",
    "backbone/block/attention/query": lambda b: f"blocks.{b}.attn.qkv.",
    "backbone/block/attention/key": lambda b: f"blocks.{b}.attn.qkv.",
    "backbone/block/attention/value": lambda b: f"blocks.{b}.attn.qkv.",
    "backbone/block/attention/out": lambda b: f"blocks.{b}.attn.proj.",
    "backbone/block/attention_scale": lambda b: f"blocks.{b}.ls1.gamma",
    "backbone/block/mlp_norm": lambda b: f"blocks.{b}.norm2.",
    "backbone/block/expand": lambda b: f"blocks.{b}.mlp.fc1.",
    "backbone/block/project": lambda b: f"blocks.{b}.mlp.fc2.",
    "backbone/block/mlp_scale": lambda b: f"blocks.{b}.ls2.gamma",
    "backbone/norm": "norm.",
    "head/hidden": "pre_logits.fc.",
    "head/logits": "head.",
    "head/distillation_logits": "head_dist.",
}
_TIMM = layout_of(_TIMM_NAMES)
_OFFICIAL = layout_of(
    {
        **_TIMM_NAMES,
        "backbone/block/attention_scale": lambda b: f"blocks.{b}.gamma_1",
        "backbone/block/mlp_scale": lambda b: f"blocks.{b}.gamma_2",
    }
)
_SHARED = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; first the one that has the network."""
    values = {**VARIANTS[name], **overrides}
    if values.get("layer_scale"):
        return {"timm": _TIMM, "official": _OFFICIAL}
    if values.get("pool") == "distilled":
        return {"timm": _TIMM}
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
    patch_size, pool, position = (getattr(backbone, f) for f in ("patch_size", "pool", "position"))
    prefix = len(TOKENS.get(pool, ())) if position == "learned" else 0
    # In a row: how the patches were arranged is not in the weights, only how many there are.
    return patch_size, patch_size * max(positions[1] - prefix, 1)


def _in_torchvision(block: int) -> str:
    return f"encoder.layers.encoder_layer_{block}"
