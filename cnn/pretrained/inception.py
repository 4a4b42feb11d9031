"""Inception-v3: torchvision's names, which are timm's too."""

from collections.abc import Callable
from typing import Any

from cnn.models.inception import BRANCHES, VARIANTS
from cnn.pretrained.layout import Layout, Path, layout_of

_BRANCHES = {
    "A": ("branch1x1", "branch5x5", "branch3x3dbl"),
    "B": ("branch3x3", "branch3x3dbl"),
    "C": ("branch1x1", "branch7x7", "branch7x7dbl"),
    "D": ("branch3x3", "branch7x7x3"),
    "E": ("branch1x1", "branch3x3", "branch3x3dbl"),
}
_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library."""
    stages = {**VARIANTS[name], **overrides}["stages"]

    def module(stage: int, block: int) -> str:
        # The first letter of the first stage is the stem's second pooling.
        return f"Mixed_{stage + 5}{'abcdefgh'[block + (stage == 0)]}"

    def branch(letter: str, part: str) -> Callable[[int, int, int, int], str]:
        def name(stage: int, block: int, branch: int, index: int) -> str:
            kind = stages[stage][block].kind
            layers = BRANCHES[kind][branch]
            number = f"_{index + 1}" if len(layers) > 1 else ""
            twin = letter if layers[index].twin else ""
            return f"{module(stage, block)}.{_BRANCHES[kind][branch]}{number}{twin}.{part}."

        return name

    layout = layout_of(
        {
            "backbone/stem_conv": lambda i=0: f"{_STEM[i]}.conv.",
            "backbone/stem_norm": lambda i=0: f"{_STEM[i]}.bn.",
            "backbone/stage_block/branch_layer_conv": branch("a", "conv"),
            "backbone/stage_block/branch_layer_norm": branch("a", "bn"),
            "backbone/stage_block/branch_layer_twin_conv": branch("b", "conv"),
            "backbone/stage_block/branch_layer_twin_norm": branch("b", "bn"),
            "backbone/stage_block/pool_conv": lambda s, b: f"{module(s, b)}.branch_pool.conv.",
            "backbone/stage_block/pool_norm": lambda s, b: f"{module(s, b)}.branch_pool.bn.",
            "head/auxiliary/reduce_conv": lambda _: "AuxLogits.conv0.conv.",
            "head/auxiliary/reduce_norm": lambda _: "AuxLogits.conv0.bn.",
            "head/auxiliary/last_conv": lambda _: "AuxLogits.conv1.conv.",
            "head/auxiliary/last_norm": lambda _: "AuxLogits.conv1.bn.",
            "head/auxiliary/logits": lambda _: "AuxLogits.fc.",
            "head/logits": "fc.",
        }
    )
    return {"torchvision": layout, "timm": layout}


def fields(shape_of: Callable[[Path], tuple[int, ...] | None]) -> dict[str, Any]:
    """What the weights tell of the network: whether they have the auxiliary classifier."""
    logits = shape_of(("params", "head", "auxiliary0", "logits", "kernel"))
    return {"auxiliary": logits is not None}
