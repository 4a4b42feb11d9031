import pickle

import numpy as np
import pytest

from cnn.data.scenes import CLASSES, scenes
from cnn.errors import UserError

SIZES = {"num_train": 40, "num_eval": 10, "size_px": 64, "max_digits": 4}
SOURCES = scenes(**SIZES)
BOXES = scenes(**SIZES, target="boxes")


def test_an_example_is_a_function_of_its_index():
    again = pickle.loads(pickle.dumps(SOURCES.train))
    for index in (0, 7, 39):
        left, right = SOURCES.train[index], again[index]
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    assert not np.array_equal(SOURCES.train[0]["image"], SOURCES.train[1]["image"])
    assert not np.array_equal(SOURCES.train[0]["image"], SOURCES.eval[0]["image"])


def test_the_first_scene_is_the_same_on_every_machine():
    example = SOURCES.train[0]
    assert (int(example["image"].astype(int).sum()), int((example["mask"] > 0).sum())) == PINNED


PINNED = (44768, 180)


def test_boxes_and_masks_tell_the_same():
    several = 0
    for index in range(40):
        example, other = SOURCES.train[index], BOXES.train[index]
        image, mask, boxes = example["image"], example["mask"], other["boxes"]
        np.testing.assert_array_equal(image, other["image"])
        assert image.shape == (64, 64, 1)
        assert mask.shape == (64, 64)
        assert boxes.shape == (len(other["box_labels"]), 4)
        assert 1 <= len(boxes) <= 4
        assert ((boxes >= 0) & (boxes <= 1)).all()
        several += len(boxes) > 1
        left = mask.copy()
        for label, (top, start, bottom, end) in zip(
            other["box_labels"], np.round(boxes * 64).astype(int), strict=True
        ):
            inside = mask[top:bottom, start:end] == label + 1
            # The box is as tight as the digit's own pixels, before it is resized.
            assert inside.any()
            left[top:bottom, start:end][inside] = 0
        assert not left.any()
        assert (image[..., 0][mask > 0] >= 96).all()
    assert several > 20
    assert SOURCES.train.info.class_names == CLASSES
    assert BOXES.train.info.class_names == CLASSES[1:]
    assert (SOURCES.train.info.target, BOXES.eval.info.target) == ("mask", "boxes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 20}, "size_px must be at least 28"),
        ({"max_digits": 0}, "max_digits must be"),
        ({"target": "box"}, "unknown data.options.scenes.target 'box'; did you mean 'boxes'"),
    ],
)
def test_too_small_is_one_clear_line(changes, message):
    with pytest.raises(UserError, match=message):
        scenes(**changes)
