"""Raw outputs, anchors, losses and detections equal those of torchvision's detectors: README.md.

In double precision where boxes are chosen by scores again and again: in single, two that differ by
rounding change places and everything behind them.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, ops, pretrained
from cnn.detectors.contract import Objects
from tests.detectors.test_networks import COUNTS, FROZEN
from tests.golden.draws import detection_boxes, draw_detector, images, pooled_input
from tests.golden.test_golden import distance

HERE = pathlib.Path(__file__).parent / "detection"
OPS = np.load(HERE / "ops.npz")
NUM_CLASSES, ALL, EVERY = 4, 10**6, 23
FIELDS = {
    "retinanet_resnet50_fpn": {"max_detections": 40, "candidates": 100},
    "fasterrcnn_resnet50_fpn": {
        "max_detections": 40,
        "score_threshold": 0.01,
        "proposals": 60,
        "train_proposals": 80,
        "rpn_samples": ALL,
        "box_samples": ALL,
    },
    "maskrcnn_resnet50_fpn": {
        "max_detections": 5,
        "score_threshold": 0.01,
        "proposals": 30,
        "train_proposals": 20,
        "rpn_samples": ALL,
        "box_samples": ALL,
    },
    "ssd300_vgg16": {"max_detections": 40, "candidates": 20, "score_threshold": 0.3},
}
LOSSES = {
    "classification": "class",
    "bbox_regression": "box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_objectness": "proposal_class",
    "loss_rpn_box_reg": "proposal_box",
    "loss_mask": "mask",
}
"""torchvision's names -> ours."""


@functools.cache
def compute(name):
    """Of the drawn network: raw outputs, anchors, detections and losses, in double precision."""
    golden = np.load(HERE / f"{name}.npz")
    meta = json.loads(golden["meta"].tobytes())
    height, width = meta["size"]
    with jax.enable_x64(True):
        variables = pretrained.from_torch(name, draw_detector(meta["state"], np.float64))
        model = models.detector(name, num_classes=NUM_CLASSES, dtype="float64", **FIELDS[name])
        x = images(2, max(height, width))[:, :height, :width]
        boxes, labels = detection_boxes()
        rows, columns = np.indices((height, width))
        masks = np.stack([(rows + columns + index) // 5 % 2 for index in range(3)])
        masks = np.broadcast_to(masks, (2, 3, height, width)).astype(np.float64)

        @jax.jit
        def run(variables, x):
            outputs = model.apply(variables, x)
            first = getattr(outputs, "anchors", outputs)
            anchors = model.apply(variables, first, (height, width), method="anchors")
            found = model.apply(variables, x, method="detect")
            objects = Objects(jnp.asarray(boxes), jnp.asarray(labels), jnp.asarray(masks))
            losses = model.apply(variables, x, objects, train=False, method="losses")
            return first.logits, first.deltas, anchors, found, losses

        logits, deltas, anchors, found, losses = jax.device_get(run(variables, x))
    anchors = np.concatenate(anchors) if isinstance(anchors, list) else anchors
    return golden, meta, (logits, deltas, anchors), found, losses


@pytest.mark.parametrize("name", FIELDS)
def test_raw_outputs_and_anchors(name):
    golden, meta, (logits, deltas, anchors), _, _ = compute(name)
    assert anchors.shape == (meta["num_anchors"], 4)
    np.testing.assert_allclose(anchors[::EVERY], golden["anchors"], rtol=1e-5, atol=1e-4)
    assert distance(logits[:, ::EVERY], golden["logits"]) < 1e-6
    assert distance(deltas[:, ::EVERY], golden["deltas"]) < 1e-6


@pytest.mark.parametrize("name", FIELDS)
def test_detections(name):
    golden, _, _, found, _ = compute(name)
    for index in range(2):
        expected = {key: golden[f"{key}{index}"] for key in ("boxes", "scores", "labels")}
        count = len(expected["scores"])
        assert count > 0 and np.all(found.labels[index][count:] == -1)
        np.testing.assert_array_equal(found.labels[index][:count], expected["labels"])
        for key in ("boxes", "scores"):
            ours = getattr(found, key)[index][:count]
            # The files are float32, and so are torchvision's anchors.
            np.testing.assert_allclose(ours, expected[key], rtol=1e-5, atol=1e-6)
        if found.masks is not None:
            masks = found.masks[index][:count, ::3, ::3]
            np.testing.assert_allclose(masks, golden[f"masks{index}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FIELDS)
def test_losses(name):
    _, meta, _, _, losses = compute(name)
    for index, expected in enumerate(meta["losses"]):
        assert {LOSSES[key] for key in expected} == losses.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(losses[LOSSES[key]][index], value, rtol=1e-5)


@pytest.mark.parametrize("name", FIELDS)
def test_there_and_back(name):
    meta = json.loads(np.load(HERE / f"{name}.npz")["meta"].tobytes())
    state = {
        # Their values are their places, so that no tensor can take another's.
        key: np.arange(len(key), len(key) + np.prod(shape), dtype=np.float32).reshape(shape)
        for key, shape in meta["state"].items()
    }
    variables = pretrained.from_torch(name, state)
    back = pretrained.to_torch(name, variables, like=state)
    assert list(back) == list(state)
    for key, tensor in state.items():
        np.testing.assert_array_equal(back[key], tensor)
    # What it counts without loaded weights, with its own number of classes.
    assert meta["params"] == COUNTS[name] + (0 if name.startswith("ssd") else FROZEN)


def test_boxes_and_suppression():
    boxes, scores, labels, _ = pooled_input()
    with jax.enable_x64(True):
        boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
        overlaps = ops.boxes.iou(boxes[:12], boxes)
        fields = {"iou_threshold": 0.4, "max_kept": len(boxes)}
        kept = ops.nms(boxes, scores, **fields)
        by_class = ops.nms(boxes, scores, jnp.asarray(labels), **fields)
    np.testing.assert_allclose(overlaps, OPS["iou"], rtol=1e-12, atol=1e-15)
    for ours, key in ((kept, "nms"), (by_class, "batched_nms")):
        count = len(OPS[key])
        assert ours[:count].tolist() == OPS[key].tolist()
        assert np.all(ours[count:] == -1)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(ratio, aligned):
    boxes, _, _, maps = pooled_input()
    with jax.enable_x64(True):
        fields = {"scale": 0.25, "sampling_ratio": ratio, "aligned": aligned}
        ours = ops.roi_align(jnp.asarray(maps), jnp.asarray(boxes[None, :12]), size=3, **fields)
    np.testing.assert_allclose(
        ours[0], OPS[f"roi_align_{ratio}_{aligned:d}"], rtol=1e-10, atol=1e-12
    )
