import numpy as np

from cnn.report import boxes

RED = (128, 0, 0)


def test_boxes_are_drawn_where_they_are():
    picture = np.full((400, 200, 3), 7, np.uint8)
    rows = np.float32([(0.25, 0.25, 0.75, 0.75), (0.5, 0.9, 1.0, 1.0)])
    drawn = boxes.drawn(picture, rows, np.array([0, 1]), ["cat 0.90", "dog"])
    assert drawn.shape == (400, 200, 3)
    assert tuple(drawn[200, 50]) == RED
    assert tuple(drawn[300, 100]) == RED
    assert (drawn[200, 60:140] == 7).all()
    assert tuple(drawn[200, 199]) == (0, 128, 0)
    # The words stand above the box, on its colour, within the picture.
    assert (drawn[84:100, 50:110] == RED).all(axis=-1).mean() > 0.5
    assert (picture == 7).all()


def test_small_pictures_are_enlarged_and_none_need_have_boxes():
    picture = np.random.default_rng(0).integers(0, 255, (96, 64, 1)).astype(np.uint8)
    drawn = boxes.drawn(picture, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), [])
    assert drawn.shape == (288, 192, 3)
    np.testing.assert_array_equal(drawn[1::3, 1::3, 0], picture[..., 0])


def test_captions():
    found = boxes.captions(np.array([1, 0]), np.float32([0.914, 0.3]), ("a", "b"))
    assert found == ["b 0.91", "a 0.30"]
