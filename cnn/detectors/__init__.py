"""Detectors: a backbone, heads on its maps, their losses, and what they find.

A file holds one kind of detector; `models.detector` builds the networks of its `VARIANTS`, whose
rows are fields of the detector and, `backbone` being its name in `cnn.models`, of the backbone. The
parameters are `{"backbone": ..., ...}`, the first as a classifier of that backbone has them.
"""

import importlib
from types import ModuleType

from cnn import errors

_NAMES: dict[str, tuple[str, ...]] = {
    "retinanet": ("retinanet_resnet50_fpn", "retinanet_test"),
    "faster_rcnn": (
        "fasterrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
        "fasterrcnn_test",
        "maskrcnn_test",
    ),
    "fast_rcnn": (
        "fast_rcnn_vgg16",
        "fast_rcnn_resnet50",
        "rcnn_resnet50",
        "fast_rcnn_test",
        "rcnn_test",
    ),
    "ssd": ("ssd300_vgg16", "ssd_test"),
    "yolo_v1": ("yolo_v1", "yolo_v1_test"),
    "yolo_free": ("yolo_free_n", "yolo_free_s", "yolo_free_m", "yolo_free_test"),
}
_FAMILIES = {name: family for family, members in _NAMES.items() for name in members}


def names() -> tuple[str, ...]:
    """The registered detectors."""
    return tuple(_FAMILIES)


def family_of(name: str) -> str:
    """The kind of a registered detector, which is the name of a file.

    Raises:
        UserError: If there is no such detector.
    """
    if name not in _FAMILIES:
        raise errors.unknown("detector", name, _FAMILIES)
    return _FAMILIES[name]


def family(name: str) -> ModuleType:
    """The file of a registered detector.

    Raises:
        UserError: If there is no such detector.
    """
    return importlib.import_module(f"{__name__}.{family_of(name)}")
