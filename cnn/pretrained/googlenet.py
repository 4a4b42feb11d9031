"""GoogLeNet: torchvision's names."""

from collections.abc import Callable
from typing import Any

from cnn.pretrained.layout import Layout, Path, layout_of


def _branch(part: str) -> Callable[[int, int, int, int], str]:
    def name(stage: int, block: int, branch: int, layer: int) -> str:
        # A list of layers, but for the first branch; in the last one the pooling is its first.
        place = {0: "", 3: ".1"}.get(branch, f".{layer}")
        return f"inception{stage + 3}{'abcdefgh'[block]}.branch{branch + 1}{place}.{part}."

    return name


_NAMES = layout_of(
    {
        "backbone/stem_conv": lambda i=0: f"conv{i + 1}.conv.",
        "backbone/stem_norm": lambda i=0: f"conv{i + 1}.bn.",
        "backbone/stage_block/branch_layer_conv": _branch("conv"),
        "backbone/stage_block/branch_layer_norm": _branch("bn"),
        "head/auxiliary/reduce_conv": lambda i: f"aux{i + 1}.conv.conv.",
        "head/auxiliary/reduce_norm": lambda i: f"aux{i + 1}.conv.bn.",
        "head/auxiliary/hidden": lambda i: f"aux{i + 1}.fc1.",
        "head/auxiliary/logits": lambda i: f"aux{i + 1}.fc2.",
        "head/logits": "fc.",
    },
    flat={"head/auxiliary/hidden/kernel"},
)


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library."""
    del name, overrides
    return {"torchvision": _NAMES}


def fields(shape_of: Callable[[Path], tuple[int, ...] | None]) -> dict[str, Any]:
    """What the weights tell of the network: whether they have auxiliary classifiers."""
    logits = shape_of(("params", "head", "auxiliary0", "logits", "kernel"))
    return {"auxiliary": logits is not None}
