"""Detectors: a backbone, heads on its maps, their losses, and what they find.

A file holds one kind of detector; `models.detector` builds the networks of its `VARIANTS`, whose
rows are fields of the detector and, `backbone` being its name in `cnn.models`, of the backbone. The
parameters are `{"backbone": ..., ...}`, the first as a classifier of that backbone has them.
"""

from cnn.nn.registry import Registry

_NAMES = {
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
REGISTRY = Registry(__name__, "detector", _NAMES)
names, family_of, family = REGISTRY.names, REGISTRY.family_of, REGISTRY.family
