"""Fast R-CNN and R-CNN: sizes, what is drawn to learn from, crops, odd proposals, learning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.detectors import contract, fast_rcnn, regions
from cnn.detectors.matching import Targets
from cnn.detectors.proposals import Proposals
from cnn.errors import UserError
from cnn.tasks import detection
from tests.detectors.test_networks import COUNTS, FROZEN
from tests.heads.test_heads import count, draw, shapes
from tests.tasks import small
from tests.tasks.scenes import CLASSES, batch_of

RESNET50 = 25_557_032 - 2_049_000
"""torchvision's, without its classifier."""

RPN = (9 * 256 + 1) * 256 + (256 + 1) * 3 * 5
"""Of Faster R-CNN: a 3x3 convolution, and a logit and four deltas for three anchors."""

FEWER = (91 - 21) * 5 * (1024 + 1)
"""Logits and deltas of COCO's classes beyond VOC's."""

SIZES = {
    # 13 convolutions, two dense layers on 7 x 7 x 512, 21 logits and 84 deltas: the paper's own.
    "fast_rcnn_vgg16": 14_714_688
    + (7 * 7 * 512 + 1) * 4096
    + (4096 + 1) * 4096
    + (4096 + 1) * 21 * 5,
    "fast_rcnn_resnet50": COUNTS["fasterrcnn_resnet50_fpn"] + FROZEN - RPN - FEWER,
    "rcnn_resnet50": RESNET50 + (2048 + 1) * 21 * 5,
}
ROWS = ("fast_rcnn_test", "rcnn_test")


@pytest.mark.parametrize("name", SIZES)
def test_parameters(name):
    model = models.detector(name, num_classes=20)
    assert isinstance(model, contract.Detector)
    assert count(shapes(model, (600, 600))[1]["params"]) == SIZES[name]


def test_the_tables_are_complete():
    assert {*SIZES, *ROWS} == fast_rcnn.VARIANTS.keys()


def slow_iou(left, right):
    low, high = np.maximum(left[:2], right[:2]), np.minimum(left[2:], right[2:])
    common = np.prod(np.maximum(high - low, 0))
    sizes = [np.prod(box[2:] - box[:2]) for box in (left, right)]
    return common / (sum(sizes) - common)


@pytest.mark.parametrize("background_iou", [0.0, 0.1, 0.3])
def test_what_is_learnt_from_against_a_slow_version(background_iou):
    """Of 40 boxes, the last 10 of them padding; the third image has no object."""
    rng = np.random.default_rng(3)
    objects = np.array([[2, 2, 14, 12], [10, 8, 30, 30], [0, 0, 1, 1]], np.float32)
    labels = np.array([[1, 0, -1], [2, -1, -1], [-1, -1, -1]])
    near = objects[rng.integers(2, size=40)] + rng.uniform(-6, 6, (40, 4)).astype(np.float32)
    boxes = np.concatenate([np.minimum(near[:, :2], near[:, 2:] - 1), near[:, 2:]], axis=1)
    real = np.arange(40) < 30
    found = jax.jit(functools.partial(regions.sample, count=16, background_iou=background_iou))(
        Proposals(jnp.tile(boxes, (3, 1, 1)), jnp.tile(real, (3, 1))),
        Targets(jnp.tile(objects, (3, 1, 1)), jnp.asarray(labels)),
        jax.random.split(jax.random.key(0), 3),
    )
    for image in range(3):
        known = np.flatnonzero(labels[image] >= 0)
        every = [*boxes[:30], *objects[known]]
        overlaps = np.array([[slow_iou(box, objects[i]) for i in known] for box in every])
        best = overlaps.max(axis=1) if len(known) else np.zeros(len(every))
        positive = {tuple(box) for box, iou in zip(every, best, strict=True) if iou >= 0.5}
        lowest = background_iou if len(known) else 0.0
        negative = {tuple(b) for b, iou in zip(every, best, strict=True) if lowest <= iou < 0.5}
        drawn = [tuple(box) for box in np.asarray(found.boxes[image])]
        kept = np.asarray(found.real[image])
        own = np.asarray(found.labels[image])
        on_object = [box for box, label in zip(drawn, own, strict=True) if label > 0]
        beside = [box for box, k, n in zip(drawn, kept, own, strict=True) if k and n == 0]
        assert len(set(on_object)) == min(4, len(positive)) and set(on_object) <= positive
        assert len(set(beside)) == min(16 - len(on_object), len(negative))
        assert set(beside) <= negative
        for box, label, owner in zip(drawn, own, np.asarray(found.owners[image]), strict=True):
            if label > 0:
                nearest = known[np.argmax([slow_iou(np.array(box), objects[i]) for i in known])]
                assert (owner, label) == (nearest, labels[image][nearest] + 1)
        assert (own[: len(on_object)] > 0).all()


def windows():
    """Boxes of five sizes all over a picture of 48 pixels, whatever it shows, as shares."""
    corners = [
        (y, x, y + height, x + width)
        for height, width in ((16, 16), (24, 24), (32, 32), (16, 8), (24, 12))
        for y in range(0, 49 - height, height // 3)
        for x in range(0, 49 - width, width // 3)
    ]
    return jnp.asarray(corners, jnp.float32) / 48


@pytest.mark.parametrize(("name", "steps"), [("fast_rcnn_test", 100), ("rcnn_test", 200)])
def test_eight_images_are_learnt(name, steps):
    batch = batch_of()
    batch["proposals"] = jnp.tile(windows()[None], (8, 1, 1))
    task = detection.make(models.detector(name, num_classes=CLASSES), optax.adam(1e-2))
    state, step = small.init(task, batch), jax.jit(task.step)
    for index in range(steps):
        state, metrics = step(state, batch, jax.random.fold_in(small.KEY, index))
    assert small.values(metrics)["class_loss"] < 0.1
    assert small.values(small.evaluate(task, state, batch))["ap50"] > 0.95


@functools.cache
def case(name):
    """A tiny network with drawn weights, two images, objects in the first, and proposals."""
    model = models.detector(name, num_classes=3)
    variables = draw(shapes(model, (32, 24))[1])
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((2, 32, 24, 3)), jnp.float32)
    objects = contract.Objects(
        jnp.asarray([[[0.1, 0.2, 0.6, 0.7], [0.3, 0.1, 0.9, 0.5]], [[0.0] * 4] * 2]),
        jnp.asarray([[2, 0], [-1, -1]]),
    )
    start = rng.uniform(0, 0.6, (2, 11, 2))
    boxes = np.concatenate([start, start + rng.uniform(0.2, 0.4, (2, 11, 2))], axis=-1)
    return model, variables, images, objects, jnp.asarray(boxes, jnp.float32)


@functools.cache
def compiled(name):
    """Proposals -> losses in training with the gradient of their sum, and detections."""
    model, variables, images, objects, _ = case(name)

    def losses(params, proposals):
        parts, _ = model.apply(
            {**variables, "params": params},
            images,
            objects,
            proposals=proposals,
            method="losses",
            mutable=["batch_stats"],
            rngs={"sample": jax.random.key(0)},
        )
        return sum(jnp.sum(part) for part in parts.values()), parts

    def both(proposals):
        found = model.apply(variables, images, proposals=proposals, method="detect")
        return *jax.grad(losses, has_aux=True)(variables["params"], proposals), found

    return jax.jit(both)


def assert_finite(tree):
    for path, leaf in jax.tree.leaves_with_path(tree):
        assert np.isfinite(leaf).all(), path


@pytest.mark.parametrize("name", ROWS)
def test_losses_and_detections(name):
    grads, parts, found = compiled(name)(case(name)[-1])
    assert_finite((grads, parts, found))
    assert parts.keys() == {"class", "box"}
    assert {(x.shape, x.dtype.name) for x in parts.values()} == {((2,), "float32")}
    # The second image has no object: its proposals are background.
    assert (parts["class"] > 0).all() and parts["box"][0] > 0 == parts["box"][1]
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads["box_head"]))
    assert found.boxes.shape == (2, 10, 4)
    assert ((found.scores > 0) == (found.labels >= 0)).all() and (found.labels >= 0).any()
    assert (found.boxes >= 0).all() and (found.boxes <= 1).all()


@pytest.mark.parametrize("name", ROWS)
def test_odd_proposals(name):
    """None at all; far outside and without area; over the edge as what is inside."""
    proposals = case(name)[-1]
    outside = jnp.asarray([[1.5, 0.2, 1.8, 0.4], [0.3, 0.3, 0.3, 0.8], [0.5, -0.4, 0.6, -0.1]])
    strange = proposals.at[0].set(0).at[1, :3].set(outside)
    grads, parts, found = compiled(name)(strange)
    assert_finite((grads, parts, found))
    # The true boxes are learnt from all the same.
    assert (found.labels[0] == -1).all() and (found.scores[0] == 0).all() and parts["class"][0] > 0
    assert (found.labels[1] >= 0).any()
    over = proposals.at[1, 0].set(jnp.asarray([-0.5, 0.2, 0.4, 1.7]))
    inside = proposals.at[1, 0].set(jnp.asarray([0.0, 0.2, 0.4, 1.0]))
    jax.tree.map(np.testing.assert_array_equal, compiled(name)(over), compiled(name)(inside))


def test_how_many_crops_are_seen_together_changes_nothing():
    _, variables, images, _, proposals = case("rcnn_test")
    found = [
        jax.jit(functools.partial(model.apply, variables, images, proposals=proposals))()
        for model in (
            models.detector("rcnn_test", num_classes=3, crops_at_once=at_once)
            for at_once in (4, 100)
        )
    ]
    assert found[0].logits.shape == (2, 11, 4)
    small.assert_same(*found, rtol=1e-4, atol=1e-5)


def test_a_crop_has_so_many_pixels_around_its_box():
    boxes = jnp.asarray([[[10.0, 20.0, 20.0, 44.0]]])
    wider = fast_rcnn._with_context(boxes, 16, 3)
    # Of 16 pixels 10 show the box, so one is a tenth of its sides.
    np.testing.assert_allclose(wider, [[[7.0, 12.8, 23.0, 51.2]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, r"levels names one map, got \(1, 2\); the backbone's have strides 1, 2"),
        ({"width": 0, "levels": (16,)}, r"levels names one map, got \(16,\)"),
        ({"crop_size": 8, "context_px": 4}, "context_px=4 at both sides leave nothing of crop_s"),
    ],
)
def test_mistakes_are_one_clear_line(fields, message):
    with pytest.raises(UserError, match=message):
        shapes(models.detector("fast_rcnn_test", **fields), (32, 32))


@pytest.mark.parametrize("method", ["losses", "detect"])
def test_no_proposals_are_one_clear_line(method):
    model, variables, images, objects, _ = case("fast_rcnn_test")
    args = (images, objects) if method == "losses" else (images,)
    options = {"train": False} if method == "losses" else {}
    with pytest.raises(UserError, match="looks at proposals, and the data have none"):
        jax.eval_shape(lambda: model.apply(variables, *args, method=method, **options))
