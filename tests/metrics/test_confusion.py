import jax.numpy as jnp
import numpy as np
import pytest

from cnn.core import compute, merge
from cnn.metrics.confusion import Confusion, overlap, overlap_by_class

LABELS = np.array([[[0, 0, 1], [1, 2, 2]]], np.uint8)
PREDICTED = np.array([[[0, 1, 1], [1, 2, 0]]], np.int32)


def confusion(labels=LABELS, predicted=PREDICTED, real=None, classes=4):
    real = np.ones(labels.shape, bool) if real is None else real
    return Confusion.of(jnp.asarray(labels), jnp.asarray(predicted), jnp.asarray(real), classes)


def test_by_hand():
    made = confusion()
    expected = np.zeros((4, 4))
    expected[:3, :3] = [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    np.testing.assert_array_equal(made.counts, expected)
    values = made.compute()
    # Class 3 is neither there nor predicted.
    assert values["miou"] == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert values["dice"] == pytest.approx((2 / 4 + 4 / 5 + 2 / 3) / 3)
    assert values["pixel_accuracy"] == pytest.approx(4 / 6)


def test_parts_add_up_and_what_does_not_count_does_not():
    real = LABELS != 2
    whole = confusion(real=real)
    top, bottom = (confusion(LABELS[:, [i]], PREDICTED[:, [i]], real[:, [i]]) for i in (0, 1))
    merged = merge({"confusion": top}, {"confusion": bottom})
    np.testing.assert_array_equal(merged["confusion"].counts, whole.counts)
    assert whole.counts.sum() == 4
    assert compute(merged) == whole.compute()


def test_nothing_counted_is_nan():
    assert all(np.isnan(value) for value in overlap(np.zeros((3, 3), np.int64)).values())


def test_by_class():
    iou, dice = overlap_by_class(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    np.testing.assert_allclose(iou, [3 / 4, 0, np.nan])
    np.testing.assert_allclose(dice, [6 / 7, 0, np.nan])


def test_large_counts_do_not_lose_a_pixel():
    counts = jnp.full((2, 2), 2**31, jnp.uint32) + 1
    assert overlap(np.asarray(counts))["pixel_accuracy"] == 0.5
