"""ResNet, ResNeXt, wide ResNet, SE-ResNet and ResNet-D: torchvision's names, which timm has too."""

from typing import Any

from cnn.models.resnet import VARIANTS
from cnn.pretrained.layout import Layout, layout_of

# Dense layers of attention are 1x1 convolutions there.
_TRAILING = {
    f"backbone/stage_block/attention/{layer}/kernel": 2
    for layer in ("reduce", "expand", "channel_reduce", "channel_expand")
}


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; torchvision lacks SE-ResNet and ResNet-D."""
    row = {**VARIANTS[name], **overrides}
    deep, pooled = row.get("stem") == "deep", row.get("shortcut") == "D"
    names = _layout(deep=deep, pooled=pooled)
    if deep or pooled or row.get("attention", "none") != "none":
        return {"timm": names}
    return {"torchvision": names, "timm": names}


def _layout(*, deep: bool, pooled: bool) -> Layout:
    """The layout of a network with that stem and that shortcut."""

    def block(leaf: str) -> Any:
        return lambda s, b, i=0: f"layer{s + 1}.{b}.{leaf.format(i + 1)}."

    def stem(kind: int, alone: str) -> Any:
        """Three convolutions and norms are one module, but for the last norm."""
        return lambda i=0: f"conv1.{3 * i + kind}." if deep and (kind, i) != (1, 2) else alone

    return layout_of(
        {
            "backbone/stem_conv": stem(0, "conv1."),
            "backbone/stem_norm": stem(1, "bn1."),
            "backbone/stage_block/conv": block("conv{}"),
            "backbone/stage_block/norm": block("bn{}"),
            "backbone/stage_block/shortcut_conv": block(f"downsample.{pooled:d}"),
            "backbone/stage_block/shortcut_norm": block(f"downsample.{pooled + 1}"),
            "backbone/stage_block/attention/reduce": block("se.fc1"),
            "backbone/stage_block/attention/expand": block("se.fc2"),
            "backbone/stage_block/attention/conv": block("se.conv"),
            "backbone/stage_block/attention/channel_reduce": block("se.channel.fc1"),
            "backbone/stage_block/attention/channel_expand": block("se.channel.fc2"),
            "backbone/stage_block/attention/spatial_conv": block("se.spatial.conv.conv"),
            "backbone/stage_block/attention/spatial_norm": block("se.spatial.conv.bn"),
            "head/logits": "fc.",
        },
        trailing=_TRAILING,
    )
