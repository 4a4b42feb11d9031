"""VGG: torchvision's names and timm's, whose hidden dense layers are convolutions."""

from typing import Any

from cnn.models import vgg
from cnn.pretrained.layout import Layout, Path, Target, layout_of


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays, by library; they count all layers before."""
    fields = {**vgg.VARIANTS[name], **overrides}
    depths = fields["depths"]
    hidden = len(fields.get("hidden_sizes", vgg.Head.hidden_sizes))
    # A convolution, perhaps its norm, and an activation.
    step = 3 if fields.get("batch_norm") else 2

    def number(stage: int, index: int) -> int:
        return step * (sum(depths[:stage]) + index) + stage

    features = {
        "backbone/stem_conv": "features.0.",
        "backbone/stem_norm": "features.1.",
        "backbone/stage_conv": lambda s, i: f"features.{number(s, i)}.",
        "backbone/stage_norm": lambda s, i: f"features.{number(s, i) + 1}.",
    }
    torchvision = layout_of(
        {
            **features,
            "head/hidden": lambda index: f"classifier.{3 * index}.",
            "head/logits": f"classifier.{3 * hidden}.",
        },
        flat=("head/hidden/kernel", "head/logits/kernel"),
    )
    dense = layout_of(
        {
            **features,
            "head/hidden": lambda index: f"pre_logits.fc{index + 1}.",
            "head/logits": "head.fc.",
        }
    )

    def timm(path: Path) -> Target:
        target = dense(path)
        # 1x1, where the first hidden layer has the size of the map.
        return target._replace(trailing=2) if path == ("head", "hidden1", "kernel") else target

    return {"torchvision": torchvision, "timm": timm}
