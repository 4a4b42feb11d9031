"""ConvNeXt: torchvision's names, timm's, and those of the authors' checkpoints (`official`)."""

from collections.abc import Callable
from typing import Any

from cnn.pretrained.layout import Layout, layout_of


def _official_block(block: Callable[[int, int], str]) -> dict[str, Callable[[int, int], str]]:
    def part(suffix: str) -> Callable[[int, int], str]:
        return lambda stage, index: block(stage, index) + suffix

    return {
        "backbone/stage_block/depthwise": part("dwconv."),
        "backbone/stage_block/norm": part("norm."),
        "backbone/stage_block/expand": part("pwconv1."),
        "backbone/stage_block/response_norm/scale": part("grn.gamma"),
        "backbone/stage_block/response_norm/bias": part("grn.beta"),
        "backbone/stage_block/project": part("pwconv2."),
        "backbone/stage_block/layer_scale": part("gamma"),
    }


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
    "backbone/stage_block/response_norm": lambda s, b: f"stages.{s}.blocks.{b}.mlp.grn.",
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
_OFFICIAL_LEADING = {
    "backbone/stage_block/response_norm/scale": 3,
    "backbone/stage_block/response_norm/bias": 3,
}
_OFFICIAL = layout_of(
    {
        "backbone/stem_conv": "downsample_layers.0.0.",
        "backbone/stem_norm": "downsample_layers.0.1.",
        "backbone/stage_norm": lambda s: f"downsample_layers.{s}.0.",
        "backbone/stage_conv": lambda s: f"downsample_layers.{s}.1.",
        **_official_block(lambda s, b: f"stages.{s}.{b}."),
        "head/norm": "norm.",
        "head/logits": "head.",
    },
    leading=_OFFICIAL_LEADING,
)
_OFFICIAL_ISOTROPIC = layout_of(
    {
        "backbone/stem_conv": "stem.",
        **_official_block(lambda _, b: f"blocks.{b}."),
        "head/norm": "norm.",
        "head/logits": "head.",
    },
    leading=_OFFICIAL_LEADING,
)
_SMALLEST = ("_atto", "_femto", "_pico", "_nano", "_test")
_IN_TORCHVISION = ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; first the one that has the network."""
    if name.startswith("convnext_iso_"):
        return {"official": _OFFICIAL_ISOTROPIC}
    timm = _TIMM_SMALLEST if name.endswith(_SMALLEST) else _TIMM
    known = {"timm": timm, "official": _OFFICIAL}
    if name in _IN_TORCHVISION and not overrides.get("response_norm"):
        return {"torchvision": _TORCHVISION, **known}
    return known
