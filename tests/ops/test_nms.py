import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import ops
from cnn.errors import UserError
from tests.ops.test_boxes import slow_iou

COUNT, KEPT = 12, 8
# Whole corners, so that no overlap is at a threshold by rounding.
corner = st.integers(0, 20)
side = st.integers(1, 12)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
scenes = st.tuples(
    st.lists(box, min_size=COUNT, max_size=COUNT),
    st.permutations(range(1, COUNT + 1)),
    st.lists(st.integers(0, 2), min_size=COUNT, max_size=COUNT),
    st.integers(0, COUNT),
)
SETTINGS = settings(max_examples=60, deadline=None)


@functools.cache
def compiled(threshold, at_first=2048):
    limits = {"iou_threshold": threshold, "max_kept": KEPT, "at_first": at_first}
    return jax.jit(functools.partial(ops.nms, **limits))


def arrays(scene):
    boxes, order, labels, real = scene
    scores = np.where(np.arange(COUNT) < real, np.array(order) / COUNT, -np.inf)
    return np.float32(boxes), np.float32(scores), np.int32(labels)


def slow_nms(boxes, scores, labels, threshold):
    kept = []
    for index in np.argsort(-scores):
        rivals = [other for other in kept if labels[other] == labels[index]]
        if np.isfinite(scores[index]) and all(
            slow_iou(boxes[index].astype(float), boxes[other].astype(float)) <= threshold
            for other in rivals
        ):
            kept.append(int(index))
    return kept[:KEPT]


@SETTINGS
@given(scenes, st.sampled_from([0.31, 0.57]))
def test_against_slow_numpy(scene, threshold):
    boxes, scores, labels = arrays(scene)
    kept = np.asarray(compiled(threshold)(boxes, scores, labels)).tolist()
    expected = slow_nms(boxes, scores, labels, threshold)
    assert kept == expected + [-1] * (KEPT - len(expected))


@SETTINGS
@given(scenes, st.sampled_from([1, 3, 5]))
def test_the_surest_at_first_change_nothing(scene, at_first):
    found = compiled(0.31, at_first)(*arrays(scene))
    np.testing.assert_array_equal(found, compiled(0.31)(*arrays(scene)))


@SETTINGS
@given(scenes, scenes)
def test_several_images_are_each_for_themselves(one, other):
    """One may be done with the surest boxes where the other is not."""
    both = [np.stack(pair) for pair in zip(arrays(one), arrays(other), strict=True)]
    kept = mapped()(*both)
    for found, scene in zip(kept, (one, other), strict=True):
        np.testing.assert_array_equal(found, compiled(0.31)(*arrays(scene)))


@functools.cache
def mapped():
    return jax.jit(jax.vmap(compiled(0.31, 5)))


def test_classes_are_one_without_labels():
    boxes = jnp.asarray([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], jnp.float32)
    scores = jnp.asarray([0.5, 0.9, 0.1])
    kept = ops.nms(boxes, scores, iou_threshold=0.5, max_kept=4)
    assert kept.tolist() == [1, 2, -1, -1]
    kept = ops.nms(boxes, scores, jnp.asarray([0, 1, 1]), iou_threshold=0.5, max_kept=2)
    assert kept.tolist() == [1, 0]


def test_no_boxes():
    kept = ops.nms(jnp.zeros((0, 4)), jnp.zeros(0), iou_threshold=0.5, max_kept=3)
    assert kept.tolist() == [-1, -1, -1]


def slow_soft_nms(boxes, scores, labels, method):
    scores = scores.astype(float)
    order, values = [], []
    while len(order) < KEPT and scores.max() >= 0.001:
        best = int(scores.argmax())
        order.append(best)
        values.append(scores[best])
        scores[best] = -np.inf
        for other in range(COUNT):
            if labels[other] != labels[best] or not np.isfinite(scores[other]):
                continue
            overlap = slow_iou(boxes[best].astype(float), boxes[other].astype(float))
            if method == "gaussian":
                scores[other] *= np.exp(-(overlap**2) / 0.5)
            elif overlap > 0.31:
                scores[other] *= 1 - overlap
            if scores[other] < 0.001:
                scores[other] = -np.inf
    return order, values


@functools.cache
def soft(method):
    fields = {"max_kept": KEPT, "method": method, "iou_threshold": 0.31}
    return jax.jit(functools.partial(ops.soft_nms, **fields))


@SETTINGS
@given(scenes, st.sampled_from(["linear", "gaussian"]))
def test_soft_against_slow_numpy(scene, method):
    boxes, scores, labels = arrays(scene)
    kept, values = (np.asarray(x) for x in soft(method)(boxes, scores, labels))
    order, expected = slow_soft_nms(boxes, scores, labels, method)
    padding = KEPT - len(order)
    # Of two scores that fade to the same number either may come first.
    np.testing.assert_allclose(values, [*expected, *[0] * padding], rtol=1e-5, atol=1e-6)
    clear = np.abs(np.diff([2, *expected, -2])) > 1e-5
    for index, one in enumerate(order):
        assert kept[index] == one or not (clear[index] and clear[index + 1])
    assert np.all(kept[len(order) :] == -1)


def test_a_method_that_does_not_exist_is_one_clear_line():
    with pytest.raises(UserError, match="unknown method of soft NMS 'gauss'; did you mean"):
        ops.soft_nms(jnp.zeros((1, 4)), jnp.zeros(1), max_kept=1, method="gauss")
