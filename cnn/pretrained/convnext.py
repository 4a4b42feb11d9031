"""ConvNeXt: torchvision's names and timm's."""

from typing import Any

from cnn.pretrained.layout import Layout, layout_of

_TORCHVISION = layout_of(
    {
        "backbone/stem_conv": "features.0.0.",
        "backbone/stem_norm": "features.0.1.",
        "backbone/stage_norm": lambda s: f"features.{2 * s}.0.",
        "backbone/stage_conv": lambda s: f"features.{2 * s}.1.",
        "backbone/stage_block/depthwise": lambda s, b: f"features.{2 * s + 1}.{b}.block.0.",
        "backbone/stage_block/norm": lambda s, b: f"features.{2 * s + 1}.{b}.block.2.",
        "backbone/stage_block/expand": lambda s, b: f"features.{2 * s + 1}.{b}.block.3.",
        "backbone/stage_block/project": lambda s, b: f"features.{2 * s + 1}.{b}.block.5.",
        "backbone/stage_block/layer_scale": lambda s, b: f"features.{2 * s + 1}.{b}.layer_scale",
        "head/norm": "classifier.0.",
        "head/logits": "classifier.2.",
    },
    trailing={"backbone/stage_block/layer_scale": 2},
)
_TIMM_NAMES = {
    "backbone/stem_conv": "stem.0.",
    "backbone/stem_norm": "stem.1.",
    "backbone/stage_norm": lambda s: f"stages.{s}.downsample.0.",
    "backbone/stage_conv": lambda s: f"stages.{s}.downsample.1.",
    "backbone/stage_block/depthwise": lambda s, b: f"stages.{s}.blocks.{b}.conv_dw.",
    "backbone/stage_block/norm": lambda s, b: f"stages.{s}.blocks.{b}.norm.",
    "backbone/stage_block/expand": lambda s, b: f"stages.{s}.blocks.{b}.mlp.fc1.",
    "backbone/stage_block/project": lambda s, b: f"stages.{s}.blocks.{b}.mlp.fc2.",
    "backbone/stage_block/layer_scale": lambda s, b: f"stages.{s}.blocks.{b}.gamma",
    "head/norm": "head.norm.",
    "head/logits": "head.fc.",
}
_TIMM = layout_of(_TIMM_NAMES)
# timm's smallest networks have 1x1 convolutions where the others have dense layers.
_TIMM_SMALLEST = layout_of(
    _TIMM_NAMES,
    trailing={
        "backbone/stage_block/expand/kernel": 2,
        "backbone/stage_block/project/kernel": 2,
    },
)
_SMALLEST = ("_atto", "_femto", "_pico", "_nano", "_test")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; torchvision lacks the smallest."""
    del overrides
    if name.endswith(_SMALLEST):
        return {"timm": _TIMM_SMALLEST}
    return {"torchvision": _TORCHVISION, "timm": _TIMM}
