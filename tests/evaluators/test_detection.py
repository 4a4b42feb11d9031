"""What the examination of a detector says of hand-made cases."""

import sys

import numpy as np
import pytest

from cnn.detectors.contract import Detections
from cnn.errors import UserError
from cnn.evaluators import detection
from cnn.evaluators.detection import Boxes, average_precision, confusion

NAMES = ("cat", "dog")


def boxes_of(rows, labels=None, scores=None):
    rows = np.array(rows, np.float32).reshape(-1, 4)
    labels = np.array(labels if labels is not None else [0] * len(rows), np.int64)
    scores = np.array(scores if scores is not None else [1.0] * len(rows), np.float32)
    return Boxes(rows, labels, scores)


ONE = boxes_of([(10, 10, 50, 50)])
NONE = boxes_of([])


def test_what_is_found_exactly_is_1():
    found = average_precision([(ONE, ONE)], 2)
    for name in ("ap", "ar1", "ap_medium"):
        assert found[name] == pytest.approx(1.0)
    # 40 x 40 is neither small nor large.
    assert np.isnan(found["ap_small"])
    assert np.isnan(found["ap_large"])


def test_a_box_of_two_thirds_counts_at_four_of_ten_overlaps():
    """0.5, 0.55, 0.6 and 0.65."""
    found = average_precision([(ONE, boxes_of([(10, 10, 50, 36.7)]))], 2)
    assert found["ap"] == pytest.approx(0.4)
    assert found["ap50"] == pytest.approx(1.0)
    assert found["ap75"] == 0.0


def test_a_surer_mistake_halves_precision():
    both = boxes_of([(60, 60, 90, 90), (10, 10, 50, 50)], scores=[0.9, 0.8])
    assert average_precision([(ONE, both)], 2)["ap"] == pytest.approx(0.5)
    both = both._replace(scores=np.float32([0.7, 0.8]))
    assert average_precision([(ONE, both)], 2)["ap"] == pytest.approx(1.0)


def test_images_without_objects_are_legal():
    assert average_precision([(ONE, ONE), (NONE, NONE)], 2)["ap"] == pytest.approx(1.0)
    assert average_precision([(ONE, NONE)], 2)["ap"] == 0.0
    assert np.isnan(average_precision([(NONE, ONE), (NONE, NONE)], 2)["ap"])


def test_a_crowd_neither_counts_nor_punishes():
    crowd = boxes_of([(10, 10, 50, 50), (60, 0, 100, 100)], labels=[0, -2])
    several = boxes_of(
        [(60, 0, 80, 30), (61, 40, 80, 60), (10, 10, 50, 50)], scores=[0.9, 0.8, 0.7]
    )
    assert average_precision([(crowd, several)], 2)["ap"] == pytest.approx(1.0)
    assert average_precision([(ONE, several)], 2)["ap"] == pytest.approx(1 / 3, abs=1e-3)


def test_confusion_counts_every_object_once():
    truth = boxes_of([(0, 0, 10, 10), (20, 20, 40, 40), (50, 50, 60, 60)], labels=[0, 1, -2])
    found = boxes_of(
        [(0, 0, 10, 9), (0, 0, 10, 10), (80, 80, 90, 90), (50, 50, 60, 60)],
        labels=[1, 0, 0, 0],
        scores=[0.9, 0.5, 0.8, 0.7],
    )
    counts = confusion(truth, found, 2)
    # The surest takes the first object and names it wrongly, so the exact one finds nothing.
    assert counts.tolist() == [[0, 1, 0], [0, 0, 1], [2, 0, 0]]
    assert confusion(NONE, NONE, 2).sum() == 0


def test_an_examination():
    """Two batches, the last padded; the picture's pixels are twice those of what is seen."""
    truth = np.zeros((4, 2, 4), np.float32)
    truth[:, 0] = (0.1, 0.1, 0.2, 0.2)
    labels = np.array([[0, -1], [1, -1], [0, -1], [1, 0]], np.int32)
    seen = {"seen_px": np.full((4, 2), 200, np.float32), "weight": np.float32([1, 1, 1, 0])}
    batch = {"boxes": truth, "box_labels": labels, **seen}
    scores = np.float32([[0.9, 0.0], [0.8, 0.0], [0.2, 0.0], [0.9, 0.0]])
    found = Detections(truth, scores, np.array([[0, -1], [0, -1], [0, -1], [0, -1]], np.int32))
    examples = [{"image": np.full((30, 30, 1), 9, np.uint8), "label": 0}] * 3
    result = detection.examine(
        lambda batch: {"detections": found}, [batch], examples, NAMES, step=7
    )
    assert (result.num_examples, result.unit, result.step) == (3, "objects", 7)
    assert result.class_names == ("cat", "dog", "nothing")
    # A score of 0.2 is too low to be counted as found.
    assert result.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert result.metrics["ap_small"] == pytest.approx(result.metrics["ap"])
    assert [(m.index, m.true, m.predicted) for m in result.mistakes] == [
        (1, "dog", "cat"),
        (2, "cat", "nothing"),
    ]
    assert result.mistakes[0].image.shape == (330, 666, 3)
    assert "3 examples, 3 objects" in result.headline()


def test_no_examples_are_one_clear_line():
    with pytest.raises(UserError, match="no examples"):
        detection.examine(lambda batch: {}, [], [], NAMES, step=0)


def test_without_pycocotools_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"run: pip install -e '\.\[detection\]'"):
        detection.check_installed()
