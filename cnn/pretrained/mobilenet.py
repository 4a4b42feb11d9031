"""MobileNet: torchvision's names, which has v2 and v3, and timm's, which has all."""

from collections.abc import Callable
from typing import Any

from cnn.models.mobilenet import VARIANTS, Stage
from cnn.pretrained.layout import Layout, layout_of

# Squeeze-and-excitation is two 1x1 convolutions there.
_TRAILING = {
    "backbone/stage_block/squeeze/reduce/kernel": 2,
    "backbone/stage_block/squeeze/expand/kernel": 2,
}


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; torchvision has v3 with its attention only."""
    stages = {**VARIANTS[name], **overrides}["stages"]
    if name == "mobilenet_v1":
        return {"timm": _timm(stages, "", "")}
    if name == "mobilenet_v2":
        return {"torchvision": _torchvision_v2(stages), "timm": _timm(stages, "conv_head.", "bn2.")}
    last = f"blocks.{len(stages)}.0."
    timm = _timm(stages, f"{last}conv.", f"{last}bn1.")
    if overrides.get("attention", "se") != "se":
        return {"timm": timm}
    return {"torchvision": _torchvision_v3(stages), "timm": timm}


def _torchvision_v2(stages: tuple[Stage, ...]) -> Layout:
    def part(offset: int, suffix: str = "") -> Callable[[int, int], str]:
        """The part of a block that is that many places behind the depthwise convolution."""

        def name(stage: int, block: int) -> str:
            place = offset + (stages[stage][block].expansion != 1)
            return f"features.{_place(stages, stage, block)}.conv.{place}.{suffix}"

        return name

    return _flat(
        stages,
        {
            "backbone/stage_block/expand_conv": part(-1, "0."),
            "backbone/stage_block/expand_norm": part(-1, "1."),
            "backbone/stage_block/depthwise_conv": part(0, "0."),
            "backbone/stage_block/depthwise_norm": part(0, "1."),
            "backbone/stage_block/project_conv": part(1),
            "backbone/stage_block/project_norm": part(2),
            "head/logits": "classifier.1.",
        },
    )


def _torchvision_v3(stages: tuple[Stage, ...]) -> Layout:
    def part(offset: int, suffix: str, *, after_squeeze: bool = False) -> Callable[[int, int], str]:
        def name(stage: int, block: int) -> str:
            row = stages[stage][block]
            place = offset + (row.expansion != 1) + (after_squeeze and row.squeeze)
            return f"features.{_place(stages, stage, block)}.block.{place}.{suffix}"

        return name

    return _flat(
        stages,
        {
            "backbone/stage_block/expand_conv": part(-1, "0."),
            "backbone/stage_block/expand_norm": part(-1, "1."),
            "backbone/stage_block/depthwise_conv": part(0, "0."),
            "backbone/stage_block/depthwise_norm": part(0, "1."),
            "backbone/stage_block/squeeze/reduce": part(1, "fc1."),
            "backbone/stage_block/squeeze/expand": part(1, "fc2."),
            "backbone/stage_block/project_conv": part(1, "0.", after_squeeze=True),
            "backbone/stage_block/project_norm": part(1, "1.", after_squeeze=True),
            "head/hidden": "classifier.0.",
            "head/logits": "classifier.3.",
        },
    )


def _place(stages: tuple[Stage, ...], stage: int, block: int) -> int:
    """Of a block in torchvision, which has all in one row, after the stem."""
    return 1 + sum(map(len, stages[:stage])) + block


def _flat(stages: tuple[Stage, ...], names: dict[str, str | Callable[..., str]]) -> Layout:
    last = _place(stages, len(stages), 0)
    around = {
        "backbone/stem_conv": "features.0.0.",
        "backbone/stem_norm": "features.0.1.",
        "backbone/last_conv": f"features.{last}.0.",
        "backbone/last_norm": f"features.{last}.1.",
    }
    return layout_of({**around, **names}, trailing=_TRAILING)


def _timm(stages: tuple[Stage, ...], last_conv: str, last_norm: str) -> Layout:
    def part(expanded: str, plain: str = "") -> Callable[[int, int], str]:
        """The name in a block that expands, and in one that does not."""

        def name(stage: int, block: int) -> str:
            leaf = expanded if stages[stage][block].expansion != 1 else plain
            return f"blocks.{stage}.{block}.{leaf}."

        return name

    return layout_of(
        {
            "backbone/stem_conv": "conv_stem.",
            "backbone/stem_norm": "bn1.",
            "backbone/stage_block/expand_conv": part("conv_pw"),
            "backbone/stage_block/expand_norm": part("bn1"),
            "backbone/stage_block/depthwise_conv": part("conv_dw", "conv_dw"),
            "backbone/stage_block/depthwise_norm": part("bn2", "bn1"),
            "backbone/stage_block/squeeze/reduce": part("se.conv_reduce", "se.conv_reduce"),
            "backbone/stage_block/squeeze/expand": part("se.conv_expand", "se.conv_expand"),
            "backbone/stage_block/project_conv": part("conv_pwl", "conv_pw"),
            "backbone/stage_block/project_norm": part("bn3", "bn2"),
            "backbone/last_conv": last_conv,
            "backbone/last_norm": last_norm,
            "head/hidden": "conv_head.",
            "head/logits": "classifier.",
        },
        trailing={**_TRAILING, "head/hidden/kernel": 2},
    )
