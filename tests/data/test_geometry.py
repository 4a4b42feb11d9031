import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.data import geometry
from cnn.data.geometry import Geometry, map_boxes, map_mask

IGNORED = 255
SIDES = st.integers(8, 60)
SHAPES = st.tuples(SIDES, SIDES)


@st.composite
def upright(draw) -> Geometry:
    """Some crops (also beyond the border), resizes and flips in a row."""
    shape = draw(SHAPES)
    whole = geometry.crop(shape, 0, 0, shape)
    for kind in draw(st.lists(st.sampled_from(["crop", "resize", "flip"]), max_size=4)):
        if kind == "flip":
            whole = whole.then(geometry.flip(whole.size))
        elif kind == "resize":
            whole = whole.then(geometry.resize(whole.size, draw(SHAPES)))
        else:
            top, left = (draw(st.integers(-6, side // 2)) for side in whole.size)
            whole = whole.then(geometry.crop(whole.size, top, left, draw(SHAPES)))
    return whole


@st.composite
def pixel_box(draw, shape: tuple[int, int], smallest: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) in whole pixels."""
    sides = [draw(st.integers(smallest, side)) for side in shape]
    starts = [draw(st.integers(0, whole - side)) for whole, side in zip(shape, sides, strict=True)]
    return starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1]


def drawn(shape, box) -> tuple[np.ndarray, np.ndarray]:
    """The box in [0, 1], and a mask that is 1 inside it."""
    mask = np.zeros(shape, np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 1
    return np.array([box], np.float32) / np.array([*shape, *shape], np.float32), mask


def extent(mask) -> np.ndarray | None:
    rows, columns = np.nonzero(mask == 1)
    if not len(rows):
        return None
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_box_and_the_mask_it_is_drawn_into_agree_within_a_pixel(data) -> None:
    change = data.draw(upright())
    boxes, mask = drawn(change.shape, data.draw(pixel_box(change.shape, 1)))
    got, stays = map_boxes(change, boxes)
    pixels = got[0] * np.array([*change.size, *change.size])
    found = extent(map_mask(change, mask, outside=IGNORED))
    if found is None:
        # No middle of a pixel lies in it.
        assert not stays[0] or min(pixels[2] - pixels[0], pixels[3] - pixels[1]) <= 1.001
    else:
        assert stays[0]
        np.testing.assert_allclose(pixels, found, atol=1.001)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_turned_box_is_the_upright_one_around_it(data) -> None:
    shape = (90, 90)
    change = geometry.affine(
        shape,
        data.draw(st.floats(-180, 180)),
        (data.draw(st.floats(-4, 4)), data.draw(st.floats(-4, 4))),
        data.draw(st.floats(0.8, 1.3)),
    )
    # Near the middle, so that no corner leaves the picture.
    top, left, bottom, right = data.draw(pixel_box((30, 30), 12))
    boxes, mask = drawn(shape, (top + 30, left + 30, bottom + 30, right + 30))
    got, stays = map_boxes(change, boxes)
    assert stays[0]
    found = extent(map_mask(change, mask, outside=IGNORED))
    np.testing.assert_allclose(got[0] * 90, found, atol=1.5)


@settings(max_examples=100, deadline=None)
@given(upright(), st.data())
def test_what_is_undone_is_identity(change, data) -> None:
    boxes, mask = drawn(change.shape, data.draw(pixel_box(change.shape, 1)))
    twice = geometry.flip(change.shape).then(geometry.flip(change.shape))
    np.testing.assert_array_equal(map_mask(twice, mask, outside=IGNORED), mask)
    np.testing.assert_allclose(map_boxes(twice, boxes)[0], boxes, atol=1e-6)
    height, width = change.shape
    padded = geometry.crop(change.shape, -3, -5, (height + 9, width + 9))
    back = padded.then(geometry.crop(padded.size, 3, 5, change.shape))
    np.testing.assert_array_equal(map_mask(back, mask, outside=IGNORED), mask)
    turned = geometry.affine(change.shape, 30.0, (0.0, 0.0), 1.25)
    undone = turned.then(geometry.affine(change.shape, -30.0, (0.0, 0.0), 0.8))
    np.testing.assert_allclose(undone.back, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(upright(), st.floats(-180, 180))
def test_one_after_the_other_is_both_at_once(change, degrees) -> None:
    after = geometry.affine(change.size, degrees, (3.0, -1.0), 1.2)
    both = change.then(after)
    assert (both.shape, both.size) == (change.shape, after.size)
    points = np.array([[0.0, 5.0, 9.5], [0.0, 2.0, -3.5], [1.0, 1.0, 1.0]])
    between = np.concatenate([after.back @ points, [[1.0, 1.0, 1.0]]])
    np.testing.assert_allclose(both.back @ points, change.back @ between, atol=1e-9)


def test_outside_is_ignored_and_dtype_kept() -> None:
    mask = np.arange(12, dtype=np.int32).reshape(3, 4)
    got = map_mask(geometry.crop((3, 4), -1, 2, (3, 4)), mask, outside=-1)
    assert got.dtype == np.int32
    assert got.tolist() == [[-1] * 4, [2, 3, -1, -1], [6, 7, -1, -1]]
    turned = map_mask(geometry.affine((3, 3), 90.0, (0.0, 0.0), 1.0), mask[:, :3], outside=-1)
    np.testing.assert_array_equal(turned, np.rot90(mask[:, :3]))


def test_boxes_are_cut_and_dropped_by_the_share_that_is_left() -> None:
    # The right half of the picture: three quarters, one quarter and none of the boxes are in it.
    half = geometry.crop((40, 80), 0, 40, (40, 40))
    boxes = np.array(
        [[0.0, 0.4375, 0.5, 0.6875], [0.5, 0.3125, 1.0, 0.5625], [0.0, 0.0, 1.0, 0.5]], np.float32
    )
    got, stays = map_boxes(half, boxes)
    assert stays.tolist() == [True, True, False]
    want = [[0.0, 0.0, 0.5, 0.375], [0.5, 0.0, 1.0, 0.125], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert got.dtype == np.float32
    for share, kept in ((0.2, 2), (0.3, 1), (0.7, 1), (0.8, 0)):
        got, stays = map_boxes(half, boxes, keep_share=share)
        assert stays.sum() == kept
        assert not got[~stays].any()
    got, stays = map_boxes(half, np.zeros((0, 4), np.float32))
    assert got.shape == (0, 4)
    assert stays.shape == (0,)


@pytest.mark.parametrize("keep_share", [0.0, 1.0])
def test_padding_of_no_area_never_stays(keep_share) -> None:
    boxes = np.array([[0.0, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.9]], np.float32)
    got, stays = map_boxes(geometry.flip((10, 10)), boxes, keep_share=keep_share)
    assert not stays.any()
    assert not got.any()
