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
def upright(draw) -> tuple[Geometry, ...]:
    """Some crops (also beyond the border), resizes and flips in a row."""
    steps = [geometry.crop(shape := draw(SHAPES), 0, 0, shape)]
    for kind in draw(st.lists(st.sampled_from(["crop", "resize", "flip"]), max_size=4)):
        size = steps[-1].size
        if kind == "flip":
            steps.append(geometry.flip(size))
        elif kind == "resize":
            steps.append(geometry.resize(size, draw(SHAPES)))
        else:
            top, left = (draw(st.integers(-6, side // 2)) for side in size)
            steps.append(geometry.crop(size, top, left, draw(SHAPES)))
    return tuple(steps)


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
    steps = data.draw(upright())
    shape, size = steps[0].shape, steps[-1].size
    boxes, mask = drawn(shape, data.draw(pixel_box(shape, 1)))
    got, stays = map_boxes(steps, boxes)
    pixels = got[0] * np.array([*size, *size])
    found = extent(map_mask(steps, mask, outside=IGNORED))
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
    turn = geometry.affine(
        shape,
        data.draw(st.floats(-180, 180)),
        (data.draw(st.floats(-4, 4)), data.draw(st.floats(-4, 4))),
        data.draw(st.floats(0.8, 1.3)),
    )
    # Near the middle, so that no corner leaves the picture.
    top, left, bottom, right = data.draw(pixel_box((30, 30), 12))
    boxes, mask = drawn(shape, (top + 30, left + 30, bottom + 30, right + 30))
    got, stays = map_boxes((turn,), boxes)
    assert stays[0]
    found = extent(map_mask((turn,), mask, outside=IGNORED))
    np.testing.assert_allclose(got[0] * 90, found, atol=1.5)


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.data())
def test_what_is_undone_is_identity(shape, data) -> None:
    boxes, mask = drawn(shape, data.draw(pixel_box(shape, 1)))
    height, width = shape
    large = (3 * height, 5 * width)
    padded = geometry.crop(shape, -3, -5, (height + 9, width + 9))
    for steps in (
        (),
        (geometry.flip(shape), geometry.flip(shape)),
        (padded, geometry.crop(padded.size, 3, 5, shape)),
        (geometry.resize(shape, large), geometry.resize(large, shape)),
    ):
        np.testing.assert_array_equal(map_mask(steps, mask, outside=IGNORED), mask)
        got, stays = map_boxes(steps, boxes, keep_share=1 - 1e-9)
        assert stays.all()
        np.testing.assert_allclose(got, boxes, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(upright(), st.floats(-180, 180))
def test_steps_in_a_row_are_one_step_after_the_other(steps, degrees) -> None:
    shape, size = steps[0].shape, steps[-1].size
    boxes = np.array([[0.1, 0.2, 0.7, 0.9], [0.4, 0.0, 0.6, 1.0]])
    turn = geometry.affine(size, degrees, (3.0, -1.0), 1.2)
    whole, stays = map_boxes((*steps, turn), boxes)
    parts = map_boxes((turn,), map_boxes(steps, boxes)[0])
    np.testing.assert_allclose(whole, parts[0], atol=1e-9)
    np.testing.assert_array_equal(stays, parts[1])
    mask = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)
    flipped = map_mask((*steps, geometry.flip(size)), mask, outside=IGNORED)
    np.testing.assert_array_equal(flipped, map_mask(steps, mask, outside=IGNORED)[:, ::-1])


@pytest.mark.parametrize(
    "second",
    [
        geometry.crop((20, 20), -8, -8, (36, 36)),
        geometry.affine((20, 20), 0.0, (0.0, 0.0), 0.5),
        geometry.affine((20, 20), 45.0, (0.0, 0.0), 0.5),
    ],
)
def test_what_was_cut_off_does_not_come_back(second) -> None:
    """A crop, then padding or a turn: the padding does not show what lay beside the crop."""
    shape = (40, 60)
    cut = geometry.crop(shape, 10, 20, (20, 20))
    boxes, mask = drawn(shape, (0, 0, 40, 60))
    got = map_mask((cut, second), mask, outside=IGNORED)
    inside = map_mask((second,), np.ones((20, 20), np.uint8), outside=IGNORED)
    np.testing.assert_array_equal(got, inside)
    assert (got == IGNORED).mean() > 0.3
    box, _ = map_boxes((cut, second), boxes)
    np.testing.assert_allclose(box[0] * second.size[0], extent(got), atol=1.001)
    # The crop is a sixth of the picture, and all of it is left.
    assert map_boxes((cut, second), boxes, keep_share=0.16)[1].all()
    assert not map_boxes((cut, second), boxes, keep_share=0.17)[1].any()


def test_outside_is_ignored_and_dtype_kept() -> None:
    mask = np.arange(12, dtype=np.int32).reshape(3, 4)
    got = map_mask((geometry.crop((3, 4), -1, 2, (3, 4)),), mask, outside=-1)
    assert got.dtype == np.int32
    assert got.tolist() == [[-1] * 4, [2, 3, -1, -1], [6, 7, -1, -1]]
    turned = map_mask((geometry.affine((3, 3), 90.0, (0.0, 0.0), 1.0),), mask[:, :3], outside=-1)
    np.testing.assert_array_equal(turned, np.rot90(mask[:, :3]))


def test_boxes_are_cut_and_dropped_by_the_share_that_is_left() -> None:
    # The right half of the picture: three quarters, one quarter and none of the boxes are in it.
    half = (geometry.crop((40, 80), 0, 40, (40, 40)),)
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
    got, stays = map_boxes((geometry.flip((10, 10)),), boxes, keep_share=keep_share)
    assert not stays.any()
    assert not got.any()
