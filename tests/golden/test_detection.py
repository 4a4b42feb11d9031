"""Raw outputs, anchors, losses and detections equal those of torchvision's detectors: README.md.

In double precision where boxes are chosen by scores again and again: in single, two that differ by
rounding change places and everything behind them. SSD's choice is one, of scores that differ.
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
MASK = "maskrcnn_resnet50_fpn"
DTYPES = {name: np.float32 if name.startswith("ssd") else np.float64 for name in FIELDS}
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
def opened(name):
    """The file of a network, and its variables; Faster R-CNN has a part of Mask R-CNN's."""
    golden = np.load(HERE / f"{name}.npz")
    meta = json.loads(golden["meta"].tobytes())
    if name.startswith("faster"):
        variables = opened(name.replace("faster", "mask"))[2]
        params = {key: part for key, part in variables["params"].items() if key != "mask_head"}
        return golden, meta, {**variables, "params": params}
    return golden, meta, pretrained.from_torch(name, draw_detector(meta["state"], DTYPES[name]))


def inputs(name):
    """Images and their objects."""
    height, width = opened(name)[1]["size"]
    x = images(2, max(height, width))[:, :height, :width]
    boxes, labels = detection_boxes()
    rows, columns = np.indices((height, width))
    masks = np.stack([(rows + columns + index) // 5 % 2 for index in range(3)])
    masks = np.broadcast_to(masks, (2, 3, height, width))
    dtype = DTYPES[name]
    objects = Objects(*map(jnp.asarray, (boxes.astype(dtype), labels, masks.astype(dtype))))
    return jnp.asarray(x.astype(dtype)), objects, (height, width)


def network(name):
    dtype = np.dtype(DTYPES[name]).name
    return models.detector(name, num_classes=NUM_CLASSES, dtype=dtype, **FIELDS[name])


@functools.cache
def features():
    """Of ResNet-50, whose weights and images are the same for all its detectors."""
    _, _, variables = opened(MASK)
    own = {collection: tree["backbone"] for collection, tree in variables.items()}
    model = models.backbone("resnet50", dtype="float64")
    return jax.jit(lambda own, x: model.apply(own, x))(own, inputs(MASK)[0])


@functools.cache
def of_one_stage(name):
    """Raw outputs, anchors, detections and losses."""
    _, _, variables = opened(name)
    model, (x, objects, image) = network(name), inputs(name)

    @jax.jit
    def run(variables, x, seen):
        known = model if seen is None else model.clone(backbone=lambda *args, **fields: seen)
        outputs = known.apply(variables, x)

        def then(method, *args):
            return known.apply(variables, outputs, *args, image, method=method)

        return outputs, then("anchors"), then("detections_of"), then("losses_of", objects)

    seen = None if name.startswith("ssd") else features()
    outputs, anchors, found, losses = jax.device_get(run(variables, x, seen))
    anchors = np.concatenate(anchors) if isinstance(anchors, list) else anchors
    return (outputs.logits, outputs.deltas, anchors), found, losses


@functools.cache
def of_two_stages(name):
    """Raw outputs and anchors, of Faster R-CNN; detections; losses, of Mask R-CNN.

    The rest is the same code, whose programs take longer to compile than to run.
    """
    _, _, variables = opened(name)
    model, (x, objects, image) = network(name), inputs(name)

    @jax.jit
    def run(variables, x, seen):
        known = model.clone(backbone=lambda *args, **fields: seen)
        found = known.apply(variables, x, method="detect")
        if name == MASK:
            losses = known.apply(variables, x, objects, train=False, method="losses")
            return None, found, losses
        outputs = known.apply(variables, x).anchors
        anchors = known.apply(variables, outputs, image, method="anchors")
        return (outputs.logits, outputs.deltas, jnp.concatenate(anchors)), found, None

    return jax.device_get(run(variables, x, features()))


def compute(name):
    with jax.enable_x64(True):
        return (of_two_stages if "rcnn" in name else of_one_stage)(name)


@pytest.mark.parametrize("name", [name for name in FIELDS if name != MASK])
def test_raw_outputs_and_anchors(name):
    golden, meta, _ = opened(name)
    logits, deltas, anchors = compute(name)[0]
    assert anchors.shape == (meta["num_anchors"], 4)
    np.testing.assert_allclose(anchors[::EVERY], golden["anchors"], rtol=1e-5, atol=1e-4)
    limit = 1e-6 if DTYPES[name] == np.float64 else 1e-5
    assert distance(logits[:, ::EVERY], golden["logits"]) < limit
    assert distance(deltas[:, ::EVERY], golden["deltas"]) < limit


@pytest.mark.parametrize("name", FIELDS)
def test_detections(name):
    golden, found = opened(name)[0], compute(name)[1]
    # The files are float32, and so are torchvision's anchors.
    limits = {"rtol": 1e-5, "atol": 1e-6 if DTYPES[name] == np.float64 else 1e-5}
    for index in range(2):
        expected = {key: golden[f"{key}{index}"] for key in ("boxes", "scores", "labels")}
        count = len(expected["scores"])
        assert count > 0 and np.all(found.labels[index][count:] == -1)
        np.testing.assert_array_equal(found.labels[index][:count], expected["labels"])
        for key in ("boxes", "scores"):
            np.testing.assert_allclose(getattr(found, key)[index][:count], expected[key], **limits)
        if found.masks is not None:
            masks = found.masks[index][:count, ::3, ::3]
            np.testing.assert_allclose(masks, golden[f"masks{index}"], **limits)


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.startswith("faster")])
def test_losses(name):
    losses = compute(name)[2]
    for index, expected in enumerate(opened(name)[1]["losses"]):
        assert {LOSSES[key] for key in expected} == losses.keys()
        for key, value in expected.items():
            limit = 1e-5 if DTYPES[name] == np.float64 else 1e-4
            np.testing.assert_allclose(losses[LOSSES[key]][index], value, rtol=limit)


@pytest.mark.parametrize("name", FIELDS)
def test_there_and_back(name):
    meta = json.loads(np.load(HERE / f"{name}.npz")["meta"].tobytes())
    state = {
        # Their values are their places, so that no axis can take another's; few bytes.
        key: np.resize(np.arange(len(key), 65_437, dtype=np.uint16), shape)
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
