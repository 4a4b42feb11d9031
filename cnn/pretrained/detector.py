"""Detectors: torchvision's names, those of its modules and those of the weights it publishes.

The first weights that torchvision published of RetinaNet and the R-CNNs on ResNet were trained with
batch norms without an epsilon, which it sets to 0 for them; here it is 1e-5 for all.
"""

import importlib
import re
from collections.abc import Callable
from typing import Any

from cnn import detectors, models
from cnn.pretrained.layout import Layout, Path, Target, layout_of

KINDS = ("retinanet", "faster_rcnn", "ssd")
"""Those that torchvision has."""

_ANCHORS_OF_A_PIXEL = {"retinanet": 9, "ssd": 4}
"""By which the last layer of classes is wider; of SSD, that of the first map."""

_names = layout_of(
    {
        "pyramid/lateral": lambda i: f"backbone.fpn.inner_blocks.{i}.0.",
        "pyramid/output": lambda i: f"backbone.fpn.layer_blocks.{i}.0.",
        "pyramid/extra": lambda i: f"backbone.fpn.extra_blocks.p{i + 6}.",
        "head/class_conv": lambda i: f"head.classification_head.conv.{i}.0.",
        "head/logits": "head.classification_head.cls_logits.",
        "head/box_conv": lambda i: f"head.regression_head.conv.{i}.0.",
        "head/deltas": "head.regression_head.bbox_reg.",
        "rpn/conv": "rpn.head.conv.0.0.",
        "rpn/logits": "rpn.head.cls_logits.",
        "rpn/deltas": "rpn.head.bbox_pred.",
        "box_head/hidden": lambda i: f"roi_heads.box_head.fc{i + 6}.",
        "box_head/logits": "roi_heads.box_predictor.cls_score.",
        "box_head/deltas": "roi_heads.box_predictor.bbox_pred.",
        "mask_head/conv": lambda i: f"roi_heads.mask_head.{i}.0.",
        "mask_head/up_conv": "roi_heads.mask_predictor.conv5_mask.",
        "mask_head/logits": "roi_heads.mask_predictor.mask_fcn_logits.",
        "extras/scale": "backbone.scale_weight",
        "extras/reduce": lambda i: f"backbone.extra.{i + 1}.0.",
        "extras/conv": lambda i: f"backbone.extra.{i + 1}.2.",
        "head/map_logits": lambda i: f"head.classification_head.module_list.{i}.",
        "head/map_deltas": lambda i: f"head.regression_head.module_list.{i}.",
    },
    flat=("box_head/hidden/kernel",),
    swapped=("mask_head/up_conv/kernel",),
)

_PUBLISHED = (
    (r"(inner_blocks|layer_blocks)\.(\d+)\.0\.", r"\1.\2."),
    (r"_head\.conv\.(\d+)\.0\.", lambda found: f"_head.conv.{2 * int(found[1])}."),
    (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
    (r"mask_head\.(\d+)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}."),
)
"""What the names were when the weights were saved; torchvision renames them as it loads them."""


def layouts(name: str, **overrides: Any) -> dict[str, Layout]:
    """The names of the network's arrays; of SSD both sets are the same."""
    kind = detectors.family_of(name)
    row = detectors.REGISTRY.variant(name, **overrides)
    body = row.pop("backbone")
    family = importlib.import_module(f"cnn.pretrained.{models.family_of(body)}")
    of_body = family.layouts(body, **row)["torchvision"]
    place = _in_ssd(models.backbone(body).depths) if kind == "ssd" else _in_pyramid

    def layout(path: Path) -> Target:
        if path[0] == "backbone":
            target = of_body(path)
            return target._replace(name=place(target.name))
        if path[:2] in {("extras", "dense0"), ("extras", "dense1")}:
            return Target(f"{place(path[1])}.{'bias' if path[2] == 'bias' else 'weight'}")
        return _names(path)

    def published(path: Path) -> Target:
        target = layout(path)
        name = target.name
        for pattern, old in _PUBLISHED:
            name = re.sub(pattern, old, name)
        return target._replace(name=name)

    return {"torchvision": layout, "torchvision_published": published}


def fields(shape_of: Callable[[Path], tuple[int, ...] | None]) -> dict[str, Any]:
    """What the weights tell of the network: the number of classes."""
    widths = {
        "retinanet": shape_of(("params", "head", "logits", "kernel")),
        "faster_rcnn": shape_of(("params", "box_head", "logits", "kernel")),
        "ssd": shape_of(("params", "head", "map_logits0", "kernel")),
    }
    for kind, shape in widths.items():
        if shape is not None and len(shape) > 1:
            background = kind != "retinanet"
            return {"num_classes": shape[-1] // _ANCHORS_OF_A_PIXEL.get(kind, 1) - background}
    return {}


def _in_pyramid(name: str) -> str:
    return f"backbone.body.{name}"


def _in_ssd(depths: tuple[int, ...]) -> Callable[[str], str]:
    """Where torchvision has VGG's layers, whose last stage and dense layers are one module."""
    pool = 2 * sum(depths[:-1]) + len(depths) - 2
    dense = 2 * depths[-1] + 1

    def place(name: str) -> str:
        if name.startswith("dense"):
            return f"backbone.extra.0.{dense}.{2 * int(name[-1]) + 1}"
        _, number, leaf = name.split(".")
        if int(number) < pool:
            return f"backbone.{name}"
        return f"backbone.extra.0.{int(number) - pool}.{leaf}"

    return place
