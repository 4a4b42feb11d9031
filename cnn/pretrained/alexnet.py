"""AlexNet: torchvision's names, also for the two groups, which torchvision lacks."""

from typing import Any

from cnn.models import alexnet
from cnn.pretrained.layout import Layout, layout_of

_FEATURES = {2: 3, 3: 6, 4: 8, 5: 10}
"""torchvision's number of each convolution."""


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays."""
    fields = {**alexnet.VARIANTS[name], **overrides}
    hidden = len(fields.get("hidden_sizes", alexnet.Head.hidden_sizes))
    names = {
        "backbone/stem_conv": "features.0.",
        "backbone/conv": lambda number: f"features.{_FEATURES[number]}.",
        "head/hidden": lambda index: f"classifier.{3 * index + 1}.",
        # No dropout comes before it.
        "head/logits": f"classifier.{3 * hidden}.",
    }
    return {"torchvision": layout_of(names, flat=("head/hidden/kernel", "head/logits/kernel"))}
