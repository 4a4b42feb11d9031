"""YOLO without anchors: sizes, points, assignment and losses against hand-made cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.detectors import _task_aligned as aligned
from cnn.detectors import contract, yolo_free
from cnn.errors import UserError

PUBLISHED = {"yolo_free_n": 3_157_184, "yolo_free_s": 11_166_544, "yolo_free_m": 25_902_624}
"""Trained parameters of YOLOv8 with COCO's 80 classes, as its authors' training prints them."""


def shapes(model, size, channels=3):
    x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    return jax.eval_shape(lambda key, x: model.init_with_output(key, x), jax.random.key(0), x)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name):
    raw, variables = shapes(models.detector(name), (640, 640))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == PUBLISHED[name]
    assert raw.sides.shape == (2, 80 * 80 + 40 * 40 + 20 * 20, 4, 16)
    assert raw.logits.shape == (2, 8400, 80)


@pytest.fixture(scope="module")
def test_net():
    model = models.detector("yolo_free_test", num_classes=3, max_detections=7)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((3, 16, 24, 1)), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, images))(jax.random.key(0))
    return model, variables, images


def test_it_is_a_detector_of_any_size_and_channels(test_net):
    model, _, _ = test_net
    assert isinstance(model, contract.Detector)
    raw, variables = shapes(model, (37, 50), 5)
    # Strides 4 and 8.
    assert raw.points.shape == (10 * 13 + 5 * 7, 2)
    assert variables["params"]["backbone"]["stem_conv"]["kernel"].shape[2] == 5


def test_points_are_the_middles_of_their_cells(test_net):
    model, variables, images = test_net
    raw = jax.jit(model.apply)(variables, images)
    assert raw.points[0].tolist() == [2, 2]
    assert raw.points[1].tolist() == [2, 6]
    assert raw.points[4 * 6].tolist() == [4, 4]
    assert raw.strides.tolist() == [4.0] * 24 + [8.0] * 6


def test_detections_are_padded_sorted_and_inside(test_net):
    model, variables, images = test_net
    found = jax.jit(lambda x: model.apply(variables, x, method="detect"))(images)
    assert isinstance(found, contract.Detections)
    assert found.boxes.shape == (3, 7, 4)
    assert found.labels.dtype == jnp.int32
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    sure = models.detector("yolo_free_test", num_classes=3, score_threshold=0.9)
    none = jax.jit(lambda x: sure.apply(variables, x, method="detect"))(images)
    assert (none.labels == -1).all()
    assert not none.scores.any()
    assert not none.boxes.any()


def test_an_image_does_not_see_its_batch(test_net):
    model, variables, images = test_net
    boxes = jnp.asarray([[[0.1, 0.2, 0.6, 0.7], [0, 0, 0, 0]]] * 3)
    objects = contract.Objects(boxes, jnp.asarray([[1, -1]] * 3))

    @jax.jit
    def losses(x):
        return model.apply(variables, x, objects, train=False, method="losses")

    left, right = losses(images), losses(images.at[1:].set(3.0))
    for name, loss in left.items():
        assert loss.shape == (3,)
        np.testing.assert_allclose(loss[0], right[name][0], rtol=1e-5)
        assert np.isfinite(loss).all()


def test_gradients_reach_every_parameter(test_net):
    """Of objects for each of the maps."""
    model, variables, _ = test_net
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 64, 64, 1)), jnp.float32)
    boxes = jnp.asarray([[[0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.7, 0.7]]])
    objects = contract.Objects(boxes, jnp.asarray([[1, 0]]))

    @jax.jit
    def gradient(params):
        def loss_fn(params):
            losses, _ = model.apply(
                {**variables, "params": params},
                images,
                objects,
                method="losses",
                mutable=["batch_stats"],
            )
            return sum(jnp.mean(loss) for loss in losses.values())

        return jax.grad(loss_fn)(params)

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path


def test_boxes_are_the_means_of_their_sides():
    sides = jnp.full((1, 4, 5), -50.0).at[0, jnp.arange(4), jnp.asarray([0, 1, 2, 4])].set(50.0)
    found = yolo_free.boxes_of(sides, jnp.asarray([[20.0, 30.0]]), jnp.asarray([8.0]))
    np.testing.assert_allclose(found, [[20, 22, 36, 62]], atol=1e-4)


def test_a_distance_is_shared_by_the_bins_around_it():
    rng = np.random.default_rng(0)
    sides = jnp.asarray(rng.standard_normal((1, 4, 5)), jnp.float32)
    away = np.array([0.0, 1.25, 2.5, 9.0])
    logs = np.asarray(jax.nn.log_softmax(sides))[0]
    rows = [logs[0, 0], 0.75 * logs[1, 1] + 0.25 * logs[1, 2], logs[2, 2:4].mean()]
    # Beyond the last bin.
    rows.append(0.01 * logs[3, 3] + 0.99 * logs[3, 4])
    found = jax.jit(yolo_free.side_loss)(sides, jnp.asarray(away, jnp.float32)[None])
    np.testing.assert_allclose(found, [-np.mean(rows)], rtol=1e-5)


def test_complete_iou():
    """Equal boxes; halves side by side; one apart; another shape; no area."""
    box = np.array([10.0, 20.0, 30.0, 60.0])
    others = np.array(
        [box, (10, 40, 30, 80), (110, 20, 130, 60), (10, 20, 50, 40), (5, 5, 5, 5)], np.float64
    )

    def slow(a, b):
        common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
        iou = common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)
        span = np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2])
        apart = np.sum(((a[:2] + a[2:] - b[:2] - b[2:]) / 2) ** 2) / np.sum(span**2)
        angles = [np.arctan2(x[3] - x[1], x[2] - x[0]) for x in (a, b)]
        v = 4 / np.pi**2 * (angles[0] - angles[1]) ** 2
        return iou - apart - (v * v / (1 - iou + v) if v else 0.0)

    found = jax.jit(aligned.complete_iou)(jnp.asarray(box)[None], jnp.asarray(others))
    np.testing.assert_allclose(found, [slow(box, other) for other in others], atol=1e-5)
    assert found[0] == pytest.approx(1.0)
    grad = jax.jit(jax.grad(lambda x: jnp.sum(aligned.complete_iou(x, jnp.asarray(others)))))
    assert np.isfinite(grad(jnp.zeros((5, 4)))).all()
    assert np.isfinite(grad(jnp.asarray(others))).all()


def test_points_learn_the_objects_that_they_are_best_at():
    """Six points in a row; an object around the first four, one around the last three."""
    points = np.stack([np.full(6, 5.0), np.arange(6) * 10.0 + 5], axis=1)
    objects = np.array([(0, 0, 10, 40), (0, 30, 10, 60), (0, 0, 0, 0)], np.float32)
    boxes = np.concatenate([points - 5, points + 5], axis=1)
    boxes[1:3] = [(0, 0, 10, 30), (0, 0, 10, 40)]
    boxes[3] = (0, 30, 10, 60)
    scores = np.full((6, 2), 0.25)
    arrays = (jnp.asarray(x, jnp.float32) for x in (scores, boxes, points, objects))
    assign = jax.jit(functools.partial(aligned.assign, best=2))
    found = assign(*arrays, jnp.asarray([0, 1, -1]))
    # The first object's best are 1 and 2; the second's are 3, which it overlaps whole, and one of
    # its others, though its box hardly overlaps.
    assert found.has[:4].tolist() == [False, True, True, True]
    assert found.owner[1:4].tolist() == [0, 0, 1]
    assert int(found.has[4:].sum()) == 1
    np.testing.assert_allclose(found.targets[2], [1.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(found.targets[3], [0.0, 1.0], atol=1e-5)
    # By quality: the overlap of 0.75, less what it is off the middle, to the sixth.
    assert 0 < found.targets[1, 0] < 0.75
    assert not found.targets[0].any()


def test_more_levels_than_maps_are_one_clear_line():
    with pytest.raises(UserError, match="levels is 5, but the backbone has 3 maps"):
        shapes(models.detector("yolo_free_test", levels=5), (32, 32))
