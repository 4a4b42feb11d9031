"""ResNet v2: timm's names."""

from typing import Any

from cnn.pretrained.layout import Layout, layout_of

_TIMM = layout_of(
    {
        "backbone/stem_conv": "stem.conv.",
        "backbone/stage_block/norm": lambda s, b, i: f"stages.{s}.blocks.{b}.norm{i + 1}.",
        "backbone/stage_block/conv": lambda s, b, i: f"stages.{s}.blocks.{b}.conv{i + 1}.",
        "backbone/stage_block/shortcut_conv": lambda s, b: (
            f"stages.{s}.blocks.{b}.downsample.conv."
        ),
        "backbone/norm": "norm.",
        "head/logits": "head.fc.",
    },
    # The classifier is a 1x1 convolution there.
    trailing={"head/logits/kernel": 2},
)


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; torchvision has none."""
    del name, overrides
    return {"timm": _TIMM}
