"""DenseNet: torchvision's names, which are timm's too, and those in the files it published."""

from typing import Any

from cnn.pretrained.layout import Layout, layout_of


def _layout(dot: str) -> Layout:
    """The layout with that between kind and number of a dense layer's parts."""

    def layer(kind: str, block: int, index: int, part: int) -> str:
        return f"features.denseblock{block + 1}.denselayer{index + 1}.{kind}{dot}{part + 1}."

    return layout_of(
        {
            "backbone/stem_conv": "features.conv0.",
            "backbone/stem_norm": "features.norm0.",
            "backbone/block_layer/norm": lambda b, i, part: layer("norm", b, i, part),
            "backbone/block_layer/conv": lambda b, i, part: layer("conv", b, i, part),
            "backbone/transition/norm": lambda b, _: f"features.transition{b}.norm.",
            "backbone/transition/conv": lambda b, _: f"features.transition{b}.conv.",
            "backbone/norm": "features.norm5.",
            "head/logits": "classifier.",
        }
    )


_NAMES = _layout("")
# torchvision renames while it loads; a file that is read without it has the dots still.
_FILE = _layout(".")


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library."""
    del name, overrides
    return {"torchvision": _NAMES, "timm": _NAMES, "torchvision_file": _FILE}
