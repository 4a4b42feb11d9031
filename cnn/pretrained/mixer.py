"""MLP-Mixer: timm's names."""

from collections.abc import Callable
from typing import Any

from flax import linen

from cnn.pretrained.layout import Layout, Path, layout_of

_TIMM = layout_of(
    {
        "backbone/stem_conv": "stem.proj.",
        "backbone/block/token_norm": lambda b: f"blocks.{b}.norm1.",
        "backbone/block/token_expand": lambda b: f"blocks.{b}.mlp_tokens.fc1.",
        "backbone/block/token_project": lambda b: f"blocks.{b}.mlp_tokens.fc2.",
        "backbone/block/channel_norm": lambda b: f"blocks.{b}.norm2.",
        "backbone/block/channel_expand": lambda b: f"blocks.{b}.mlp_channels.fc1.",
        "backbone/block/channel_project": lambda b: f"blocks.{b}.mlp_channels.fc2.",
        "backbone/norm": "norm.",
        "head/logits": "head.",
    }
)


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays."""
    del name, overrides
    return {"timm": _TIMM}


def image_size(
    backbone: linen.Module, shape_of: Callable[[Path], tuple[int, ...] | None]
) -> tuple[int, int] | None:
    """An image with as many patches as the weights mix; None without such weights."""
    kernel = shape_of(("params", "backbone", "block0", "token_expand", "kernel"))
    if kernel is None or len(kernel) != 2:
        return None
    patch_size = getattr(backbone, "patch_size", 1)
    # In a row: how the patches were arranged is not in the weights, only how many there are.
    return patch_size, patch_size * max(kernel[0], 1)
