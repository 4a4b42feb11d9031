"""Segmenters: torchvision's names, which has FCN and DeepLab v3 on ResNet, LR-ASPP on MobileNet."""

import importlib
from collections.abc import Callable
from typing import Any

from cnn import heads, models
from cnn.pretrained.layout import Layout, Path, Target, layout_of

_AUXILIARY = {
    "auxiliary/conv": "aux_classifier.0.",
    "auxiliary/norm": "aux_classifier.1.",
    "auxiliary/logits": "aux_classifier.4.",
}
HEADS: dict[str, Layout] = {
    "fcn": layout_of(
        {
            "head/conv": "classifier.0.",
            "head/norm": "classifier.1.",
            "head/logits": "classifier.4.",
            **_AUXILIARY,
        }
    ),
    "deeplab_v3": layout_of(
        {
            "head/point_conv": "classifier.0.convs.0.0.",
            "head/point_norm": "classifier.0.convs.0.1.",
            "head/atrous_conv": lambda i: f"classifier.0.convs.{i + 1}.0.",
            "head/atrous_norm": lambda i: f"classifier.0.convs.{i + 1}.1.",
            # With the paper's three dilations it is the fifth.
            "head/pooled_conv": "classifier.0.convs.4.1.",
            "head/pooled_norm": "classifier.0.convs.4.2.",
            "head/project_conv": "classifier.0.project.0.",
            "head/project_norm": "classifier.0.project.1.",
            "head/last_conv": "classifier.1.",
            "head/last_norm": "classifier.2.",
            "head/logits": "classifier.4.",
            **_AUXILIARY,
        }
    ),
    "lraspp": layout_of(
        {
            "head/conv": "classifier.cbr.0.",
            "head/norm": "classifier.cbr.1.",
            "head/gate_conv": "classifier.scale.1.",
            "head/logits": "classifier.high_classifier.",
            "head/low_logits": "classifier.low_classifier.",
            **_AUXILIARY,
        }
    ),
}
"""The names of each head that torchvision has."""


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays: the backbone's, in a module of that name, and the head's.

    None where torchvision names nothing of that backbone.
    """
    row = heads.REGISTRY.variant(name, **overrides)
    body, head = row.pop("backbone"), HEADS[heads.family_of(name)]
    family = importlib.import_module(f"cnn.pretrained.{models.family_of(body)}")
    of_body = family.layouts(body, **row)["torchvision"]

    def layout(path: Path) -> Target:
        if path[0] != "backbone":
            return head(path)
        target = of_body(path)
        # MobileNet's layers are a list there, which is the backbone.
        return target._replace(name=f"backbone.{target.name.removeprefix('features.')}")

    return {"torchvision": layout}


def fields(shape_of: Callable[[Path], tuple[int, ...] | None]) -> dict[str, Any]:
    """What the weights tell of the network: whether there is an auxiliary head, and its width."""
    kernel = shape_of(("params", "auxiliary", "conv", "kernel"))
    return {"auxiliary_width": None if kernel is None else kernel[-1]}
