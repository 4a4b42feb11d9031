"""ResNet, ResNeXt and wide ResNet: torchvision's names, which are timm's too."""

from typing import Any

from cnn.pretrained.layout import Layout, layout_of

_NAMES = layout_of(
    {
        "backbone/stem_conv": "conv1.",
        "backbone/stem_norm": "bn1.",
        "backbone/stage_block/conv": lambda s, b, i: f"layer{s + 1}.{b}.conv{i + 1}.",
        "backbone/stage_block/norm": lambda s, b, i: f"layer{s + 1}.{b}.bn{i + 1}.",
        "backbone/stage_block/shortcut_conv": lambda s, b: f"layer{s + 1}.{b}.downsample.0.",
        "backbone/stage_block/shortcut_norm": lambda s, b: f"layer{s + 1}.{b}.downsample.1.",
        "head/logits": "fc.",
    }
)


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library."""
    del name, overrides
    return {"torchvision": _NAMES, "timm": _NAMES}
