"""Boxes of objects in examples and batches."""

import numpy as np
import pytest

from cnn import data
from cnn.data.boxes import BoxRules, seen_px
from cnn.data.moves import Crop, Resize
from cnn.data.resize import resized
from cnn.errors import UserError

SHAPE = (40, 60)
INK = 250


class Rectangles:
    """Black pictures with a white rectangle each, the third without, and what lies at the edge."""

    labels = np.zeros(6, np.int64)
    info = data.SourceInfo("rectangles", ("a", "b"), "boxes")

    def __len__(self):
        return 6

    def __getitem__(self, index, /):
        image = np.zeros((*SHAPE, 1), np.uint8)
        example = {"image": image, "label": 0}
        if index == 2:
            empty = {"boxes": np.zeros((0, 4), np.float32), "box_labels": np.zeros(0, np.int64)}
            return {**example, **empty}
        pixels = (10, 15 + index, 25, 40)
        image[pixels[0] : pixels[2], pixels[1] : pixels[3]] = 255
        boxes = np.array([pixels, (0, 0, 40, 1)], np.float32) / np.float32([40, 60, 40, 60])
        return {**example, "boxes": boxes, "box_labels": np.array([index % 2, 1])}


def preprocess_of(**changes):
    options = {"image_size": 48, "channels": 1, "mean": (0.0,), "std": (1.0,)}
    made = data.make_preprocess(**{**options, "resize": "letterbox", **changes})
    return data.make_boxes(made, max_boxes=3, min_visible=0.25)


def extent(image):
    """The box around what is bright, in shares."""
    bright = image[..., 0] > 0.5
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    found = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    return np.array(found) / len(image)


@pytest.mark.parametrize(
    "options",
    [
        {"flip_rate": 1.0},
        {"crop_area_min": 0.5},
        {"pad_px": 4, "flip_rate": 0.5},
        {"shift_fraction": 0.1, "scale_fraction": 0.2},
    ],
    ids=str,
)
def test_training_moves_boxes_with_their_images(options):
    augment = data.make_by_epoch(data.make_augment(preprocess_of(), **options))
    stream = data.train_batches(Rectangles(), augment, batch_size=6, seed=0)
    places = set()
    for _ in range(6):
        batch = next(stream)
        assert batch.keys() == {"image", "boxes", "box_labels", "weight"}
        assert (batch["boxes"].shape, batch["boxes"].dtype) == ((6, 3, 4), np.float32)
        assert (batch["box_labels"].shape, batch["box_labels"].dtype) == ((6, 3), np.int32)
        for image, boxes, labels in zip(
            batch["image"], batch["boxes"], batch["box_labels"], strict=True
        ):
            if labels[0] == -1:
                assert not image.any()
                continue
            # Two pixels of 48: what is interpolated is no longer quite bright.
            np.testing.assert_allclose(boxes[0], extent(image), atol=2 / 48)
            places.add(tuple(boxes[0].round(3)))
    stream.close()
    assert len(places) > 4
    left_out = augment.augments[0].preprocess.boxes
    assert left_out == BoxRules(3, 0.25)


def test_an_evaluation_has_every_object_and_the_size_of_what_it_shows():
    first, last = data.eval_batches(Rectangles(), preprocess_of(), batch_size=4)
    assert first["box_labels"].tolist()[:3] == [[0, 1, -1], [1, 1, -1], [-1, -1, -1]]
    # 40 x 60 pixels in the middle of a square of 60.
    np.testing.assert_allclose(first["boxes"][0, 0], (20 / 60, 15 / 60, 35 / 60, 40 / 60))
    np.testing.assert_allclose(first["seen_px"], np.full((4, 2), 60.0))
    assert last["weight"].tolist() == [1, 1, 0, 0]
    assert (last["box_labels"][2:] == -1).all()
    assert not last["boxes"][2:].any()


def test_other_sizes_of_training_keep_the_rules():
    augment = data.make_augment(preprocess_of())
    made = data.make_by_epoch(augment, sizes_px=(24, 32), from_epochs=(0, 2))
    assert [one.preprocess.boxes.max_boxes for one in made.augments] == [3, 3]


@pytest.mark.parametrize(
    ("top", "left_there"), [(0, True), (17, True), (23, False), (30, False)], ids=str
)
def test_an_object_that_is_cut_off_goes(top, left_there):
    """Of the rows 10 to 25 of the rectangle."""
    found = BoxRules(2, 0.25).moved(Rectangles()[0], (Crop(top, 0, 20, 60),))
    rectangle = bool((found.labels == 0).any())
    assert rectangle == left_there
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()


def test_objects_that_do_not_count_keep_their_labels():
    example = {**Rectangles()[0], "box_labels": np.array([data.unmeasured(1), 1])}
    found = BoxRules().moved(example, ())
    assert found.labels[:3].tolist() == [-3, 1, -1]
    assert data.unmeasured(data.unmeasured(1)) == 1


def test_the_size_of_what_is_seen():
    whole = Resize(30, 45, "bilinear", resized)
    np.testing.assert_allclose(seen_px((40, 60), ()), (40, 60))
    np.testing.assert_allclose(seen_px((40, 60), (whole,)), (40, 60))
    np.testing.assert_allclose(seen_px((40, 60), (whole, Crop(0, 0, 15, 60))), (20, 80))


def test_too_many_objects_are_one_clear_line():
    with pytest.raises(UserError, match=r"2 objects, more than boxes.max_boxes=1; set .*=2 or"):
        BoxRules(1).moved(Rectangles()[0], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_boxes": 0}, "max_boxes must be at least 1"), ({"min_visible": 1.5}, "min_visible")],
)
def test_mistakes_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        data.make_boxes(preprocess_of(), **options)


def test_several_views_are_refused():
    views = data.make_views(preprocess_of(), "flip")
    with pytest.raises(UserError, match=r"evaluation.views must be 'center' .* objects boxes"):
        list(data.eval_batches(Rectangles(), views, batch_size=2))
