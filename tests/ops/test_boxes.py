import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import ops

sides = st.floats(0.125, 50, width=32)
places = st.floats(-20, 100, width=32)
box = st.tuples(places, places, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
SETTINGS = settings(max_examples=40, deadline=None)


def array(*boxes):
    return jnp.asarray(np.array(boxes, np.float32).reshape(-1, 4))


def slow_iou(left, right):
    heights = max(0.0, min(left[2], right[2]) - max(left[0], right[0]))
    widths = max(0.0, min(left[3], right[3]) - max(left[1], right[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (left, right)]
    return heights * widths / (sum(areas) - heights * widths)


@SETTINGS
@given(box, box)
def test_iou(left, right):
    # A side of a box far from 0 is a difference that keeps fewer digits than its ends.
    value = float(ops.boxes.iou(array(left), array(right))[0, 0])
    left, right = (np.float32(np.array(b)).astype(np.float64) for b in (left, right))
    np.testing.assert_allclose(value, slow_iou(left, right), rtol=5e-3, atol=1e-4)
    assert 0 <= value <= 1 + 1e-6


def test_iou_by_hand():
    boxes = array((0, 0, 2, 2), (1, 1, 3, 3), (5, 5, 5, 9), (0, 0, 2, 2))
    expected = [[1, 1 / 7, 0, 1], [1 / 7, 1, 0, 1 / 7], [0, 0, 0, 0], [1, 1 / 7, 0, 1]]
    np.testing.assert_allclose(ops.boxes.iou(boxes, boxes), expected, rtol=1e-6)


@SETTINGS
@given(box, box)
def test_decode_is_the_inverse_of_encode(true, anchor):
    ratio = max((true[i + 2] - true[i]) / (anchor[i + 2] - anchor[i]) for i in (0, 1))
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = ops.boxes.encode(array(true), array(anchor), weights)
    decoded = ops.boxes.decode(deltas, array(anchor), weights)
    if ratio < 1000 / 16:
        np.testing.assert_allclose(decoded, array(true), rtol=1e-3, atol=2e-2)
    else:
        assert ops.boxes.area(decoded)[0] < ops.boxes.area(array(true))[0]


def test_deltas_by_hand():
    """Twice as wide, as high, its middle a quarter of the width to the right."""
    deltas = ops.boxes.encode(array((0, -3, 2, 9)), array((0, -1, 2, 5)), (1.0, 1.0, 2.0, 1.0))
    np.testing.assert_allclose(deltas, [[1 / 6, 0, 2 * np.log(2), 0]], rtol=1e-6)


@SETTINGS
@given(box)
def test_clipped_boxes_are_inside(one):
    clipped = np.asarray(ops.boxes.clip(array(one), (30, 40)))[0]
    assert np.all(clipped >= 0) and np.all(clipped <= [30, 40, 30, 40])
    inside = np.minimum(np.maximum(np.float32(one), 0), [30, 40, 30, 40])
    np.testing.assert_array_equal(clipped, inside)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_area(shape):
    boxes = jnp.asarray(np.random.default_rng(0).uniform(0, 9, shape), jnp.float32)
    sides = np.maximum(np.asarray(boxes[..., 2:] - boxes[..., :2]), 0)
    np.testing.assert_allclose(ops.boxes.area(boxes), sides[..., 0] * sides[..., 1], rtol=1e-6)
