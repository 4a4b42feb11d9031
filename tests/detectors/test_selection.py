import jax.numpy as jnp
import numpy as np
import pytest

from cnn.detectors.selection import above, detections_of, large
from cnn.errors import UserError

BOXES = jnp.asarray([[[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [20, 20, 30, 40.0]]])
SCORES = jnp.asarray([[0.9, 0.8, -jnp.inf, 0.3]])
LABELS = jnp.asarray([[1, 1, 0, 0]])
FIELDS = {"iou_threshold": 0.5, "max_detections": 5}


def test_the_surest_of_a_class_stay_as_shares_of_the_image():
    found = detections_of(BOXES, SCORES, LABELS, (40, 80), **FIELDS)
    assert found.labels.tolist() == [[1, 0, -1, -1, -1]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.3, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.boxes[0, :2], [[0, 0, 0.25, 0.125], [0.5, 0.25, 0.75, 0.5]])
    assert not np.any(found.boxes[0, 2:])


def test_soft_suppression_lowers_the_score():
    found = detections_of(BOXES, SCORES, LABELS, (40, 80), suppression="linear", **FIELDS)
    assert found.labels.tolist() == [[1, 0, 1, -1, -1]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.3, 0.8 * 0.2, 0, 0]], rtol=1e-5)


def test_a_suppression_that_does_not_exist_is_one_clear_line():
    with pytest.raises(UserError, match="unknown suppression 'hard'"):
        detections_of(BOXES, SCORES, LABELS, (40, 80), suppression="hard", **FIELDS)


def test_low_scores_and_small_boxes_are_none():
    assert above(jnp.asarray([0.5, 0.6]), 0.5).tolist() == [-np.inf, pytest.approx(0.6)]
    assert large(BOXES, SCORES, smallest=9.0)[0, :2].tolist() == [pytest.approx(0.9), -np.inf]
