"""EfficientNet: torchvision's names and timm's."""

from collections.abc import Callable
from typing import Any

from cnn.models.efficientnet import VARIANTS, Stage
from cnn.pretrained.layout import Layout, layout_of

# Squeeze-and-excitation is two 1x1 convolutions there.
_TRAILING = {
    "backbone/stage_block/squeeze/reduce/kernel": 2,
    "backbone/stage_block/squeeze/expand/kernel": 2,
}


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library."""
    stages = {**VARIANTS[name], **overrides}["stages"]
    return {"torchvision": _torchvision(stages), "timm": _timm(stages)}


def _torchvision(stages: tuple[Stage, ...]) -> Layout:
    def part(layer: str, suffix: str) -> Callable[[int, int], str]:
        def name(stage: int, block: int) -> str:
            place = _order(stages[stage]).index(layer)
            return f"features.{stage + 1}.{block}.block.{place}.{suffix}"

        return name

    last = len(stages) + 1
    return layout_of(
        {
            "backbone/stem_conv": "features.0.0.",
            "backbone/stem_norm": "features.0.1.",
            "backbone/stage_block/expand_conv": part("expand", "0."),
            "backbone/stage_block/expand_norm": part("expand", "1."),
            "backbone/stage_block/fused_conv": part("fused", "0."),
            "backbone/stage_block/fused_norm": part("fused", "1."),
            "backbone/stage_block/depthwise_conv": part("depthwise", "0."),
            "backbone/stage_block/depthwise_norm": part("depthwise", "1."),
            "backbone/stage_block/squeeze/reduce": part("squeeze", "fc1."),
            "backbone/stage_block/squeeze/expand": part("squeeze", "fc2."),
            "backbone/stage_block/project_conv": part("project", "0."),
            "backbone/stage_block/project_norm": part("project", "1."),
            "backbone/last_conv": f"features.{last}.0.",
            "backbone/last_norm": f"features.{last}.1.",
            "head/logits": "classifier.1.",
        },
        trailing=_TRAILING,
    )


def _order(stage: Stage) -> tuple[str, ...]:
    """The layers of a block, by which torchvision numbers them."""
    if stage.fused:
        return ("fused", "project")
    layers = ("depthwise", "squeeze", "project")
    return ("expand", *layers) if stage.expansion > 1 else layers


def _timm(stages: tuple[Stage, ...]) -> Layout:
    def part(expanded: str, plain: str, fused: str = "") -> Callable[[int, int], str]:
        """The name in a block that expands, in one that does not, and in a fused one."""

        def name(stage: int, block: int) -> str:
            leaf = plain if stages[stage].expansion == 1 else expanded
            leaf = fused if fused and stages[stage].fused else leaf
            return f"blocks.{stage}.{block}.{leaf}."

        return name

    return layout_of(
        {
            "backbone/stem_conv": "conv_stem.",
            "backbone/stem_norm": "bn1.",
            "backbone/stage_block/expand_conv": part("conv_pw", ""),
            "backbone/stage_block/expand_norm": part("bn1", ""),
            "backbone/stage_block/fused_conv": part("conv_exp", "conv"),
            "backbone/stage_block/fused_norm": part("bn1", "bn1"),
            "backbone/stage_block/depthwise_conv": part("conv_dw", "conv_dw"),
            "backbone/stage_block/depthwise_norm": part("bn2", "bn1"),
            "backbone/stage_block/squeeze/reduce": part("se.conv_reduce", "se.conv_reduce"),
            "backbone/stage_block/squeeze/expand": part("se.conv_expand", "se.conv_expand"),
            "backbone/stage_block/project_conv": part("conv_pwl", "conv_pw", "conv_pwl"),
            "backbone/stage_block/project_norm": part("bn3", "bn2", "bn2"),
            "backbone/last_conv": "conv_head.",
            "backbone/last_norm": "bn2.",
            "head/logits": "classifier.",
        },
        trailing=_TRAILING,
    )
