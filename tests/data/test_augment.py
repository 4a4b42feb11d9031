import math

import numpy as np
import pytest
from scipy import ndimage

from cnn.data.augment import (
    alternating_flip,
    make_augment,
    make_scale_jitter,
    random_crop_box,
)
from cnn.data.transforms import make_preprocess
from cnn.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def augment(image_size: int = 16, channels: int = 3, **changes):
    preprocess = make_preprocess(
        image_size=image_size, channels=channels, mean=(0.0,), std=(1 / 255,)
    )
    return make_augment(preprocess, **changes)


def test_off_is_the_transform_of_evaluation() -> None:
    preprocess = make_preprocess(image_size=16, channels=3, mean=(0.4,), std=(0.2,))
    generator = rng()
    before = generator.bit_generator.state
    got = make_augment(preprocess)(PHOTO, generator)
    np.testing.assert_array_equal(got, preprocess(PHOTO))
    assert generator.bit_generator.state == before


def test_the_result_is_a_function_of_image_and_generator() -> None:
    change = augment(crop_area_min=0.3, flip_rate=0.5, pad_px=2, rotate_degrees=20.0)
    np.testing.assert_array_equal(change(PHOTO, rng(1)), change(PHOTO, rng(1)))
    assert not np.array_equal(change(PHOTO, rng(1)), change(PHOTO, rng(2)))


def test_flip_rate_is_a_probability() -> None:
    image = PHOTO[:16, :16]
    flips = 0
    change, generator = augment(flip_rate=0.3), rng()
    for _ in range(1000):
        got = np.round(change(image, generator))
        flipped = np.array_equal(got, image[:, ::-1])
        assert flipped or np.array_equal(got, image)
        flips += flipped
    # Binomial(1000, 0.3): five standard deviations are 72.
    assert 228 < flips < 372
    np.testing.assert_array_equal(np.round(augment(flip_rate=1.0)(image, rng())), image[:, ::-1])


def test_pad_and_crop_reaches_every_offset_and_pads_with_black() -> None:
    image = PHOTO[:8, :8]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    windows = {padded[y : y + 8, x : x + 8].tobytes(): (y, x) for y in range(5) for x in range(5)}
    change, generator = augment(8, pad_px=2), rng()
    drawn = [np.round(change(image, generator)).astype(np.uint8) for _ in range(500)]
    assert len({windows[image.tobytes()] for image in drawn}) == 25


def test_crop_boxes_have_the_areas_and_ratios_asked_for() -> None:
    generator = rng()
    boxes = np.array([random_crop_box((300, 400), generator, 0.08, 4 / 3) for _ in range(4000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    share, ratio = height * width / 120_000, np.log(width / height)
    assert 0.079 < share.min() < 0.1
    assert share.max() > 0.95
    # Crops that are too high are drawn again: (share, log ratio) is uniform where share is below
    # 0.75 ratio, which integrates to a mean share of 0.4319; five standard errors are 0.018.
    assert abs(share.mean() - 0.4319) < 0.018
    assert np.abs(ratio).max() < math.log(4 / 3) + 0.02
    small = ratio[share < 0.5]
    assert abs(small.mean()) < 0.02
    # Of U(-0.288, 0.288).
    assert abs(small.std() - 0.166) < 0.01
    assert np.unique(top).size > 150
    assert np.unique(left).size > 150


@pytest.mark.parametrize(
    ("shape", "want"),
    [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10)), ((1, 1), (0, 0, 1, 1))],
)
def test_where_no_crop_fits_it_is_the_largest_in_the_middle(shape, want) -> None:
    assert random_crop_box(shape, rng(), 1.0, 4 / 3) == want


def test_the_random_crop_is_a_part_of_the_image_resized() -> None:
    # Levels are the columns: a crop resized is a ramp inside [left, left + width).
    ramp = np.broadcast_to(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 100, 1))
    change, generator = augment(channels=1, crop_area_min=0.2), rng()
    spans = []
    for _ in range(200):
        got = change(ramp, generator)
        assert got.shape == (16, 16, 1)
        np.testing.assert_allclose(np.ptp(got, axis=0), 0, atol=1.01)
        steps = np.diff(got[0, :, 0])
        assert (steps > 0).all()
        spans.append(steps[2:-2].mean() * 16 / 200)
    assert 0.35 < min(spans) < 0.6
    assert max(spans) > 0.85


def test_rotation_shift_and_scale_stay_within_their_spread() -> None:
    # A dot moves with the shift; its distance from the centre grows with the scale.
    dot = np.zeros((33, 33, 1), np.uint8)
    dot[15:18, 25:28] = 255

    def places(**changes):
        change, generator = augment(33, 1, **changes), rng()
        where = [ndimage.center_of_mass(change(dot, generator)[:, :, 0]) for _ in range(300)]
        return np.array(where) - 16

    moved = places(shift_fraction=0.1) - (0, 10)
    assert 2.8 < np.abs(moved).max() <= 3.3 + 0.05
    assert abs(moved.mean()) < 0.3
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2
    turned = places(rotate_degrees=20.0)
    angles = np.degrees(np.arctan2(turned[:, 0], turned[:, 1]))
    assert 18 < angles.max() <= 20.2
    assert -20.2 <= angles.min() < -18
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 10, atol=0.1)
    grown = places(scale_fraction=0.2)[:, 1] / 10
    assert 0.79 <= grown.min() < 0.83
    assert 1.17 < grown.max() <= 1.21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_area_min": 1.5}, "crop_area_min must be between 0 and 1, got 1.5"),
        ({"crop_ratio_max": 0.75}, "crop_ratio_max must be between 1 and inf"),
        ({"flip_rate": -0.1}, "flip_rate must be between 0 and 1"),
        ({"pad_px": -1}, "pad_px must be between 0 and inf"),
        ({"rotate_degrees": 200.0}, "rotate_degrees must be between 0 and 180"),
        ({"shift_fraction": 1.0}, "shift_fraction must be between 0 and 1, got 1"),
        ({"scale_fraction": 1.0}, "scale_fraction must be between 0 and 1"),
    ],
)
def test_values_out_of_range_are_refused(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        augment(**changes)


def test_scale_jitter_crops_from_images_of_random_size() -> None:
    # The level of a pixel is its place, so that a crop says its scale and where it is from.
    rows, columns = np.mgrid[0:60, 0:90]
    image = np.stack([4 * rows, 2 * columns, 0 * rows], -1).astype(np.uint8)
    change, generator = make_scale_jitter(augment(), shorter_px=(20, 40)), rng()
    scales, tops, lefts = [], [], []
    for _ in range(400):
        got = change(image, generator)
        assert got.shape == (16, 16, 3)
        step = (got[12, 8, 0] - got[3, 8, 0]) / 9 / 4
        assert (got[8, 12, 1] - got[8, 3, 1]) / 9 / 2 == pytest.approx(step, rel=0.1)
        scales.append(1 / step)
        tops.append((got[3, 8, 0] / 4 + 0.5) / step - 3.5)
        lefts.append((got[8, 3, 1] / 2 + 0.5) / step - 3.5)
    shorter = 60 * np.array(scales)
    assert 19 < shorter.min() < 21.5
    assert 38.5 < shorter.max() < 42
    # Of U(20, 40); five standard errors are 1.5.
    assert abs(shorter.mean() - 30) < 1.5
    share = np.array(tops) / (shorter - 16)
    assert abs(share.mean() - 0.5) < 0.08
    assert -0.1 < share.min() < 0.1 < 0.9 < share.max() < 1.1
    share = np.array(lefts) / (1.5 * shorter - 16)
    assert -0.1 < share.min() < 0.1 < 0.9 < share.max() < 1.1


def test_scale_jitter_of_one_size_is_a_random_crop_at_that_scale() -> None:
    change = make_scale_jitter(augment(), shorter_px=(24, 24))
    windows = {PHOTO[y : y + 16, x : x + 16].tobytes() for y in range(9) for x in range(16)}
    for seed in range(50):
        assert np.round(change(PHOTO, rng(seed))).astype(np.uint8).tobytes() in windows
    plain = augment()
    assert make_scale_jitter(plain) is plain


@pytest.mark.parametrize(
    ("shorter_px", "changes", "message"),
    [
        ((24,), {}, r"takes the smallest and the largest length in pixels.*got \(24,\)"),
        ((40, 20), {}, r"takes the smallest and the largest"),
        ((15, 20), {}, r"starts at 15, but the crops are of 16 pixels"),
        ((20, 40), {"crop_area_min": 0.1}, r"augment.crop_area_min=0.1 and scale_jitter"),
    ],
)
def test_scale_jitter_that_cannot_be_is_refused(shorter_px, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        make_scale_jitter(augment(**changes), shorter_px=shorter_px)


def test_scale_jitter_is_refused_by_larger_crops_of_a_later_epoch() -> None:
    with pytest.raises(UserError, match=r"starts at 20, but the crops are of 24 pixels"):
        make_scale_jitter(augment(), shorter_px=(20, 30)).at_size(24)


def test_alternating_flips_are_pinned_and_show_every_example_both_ways() -> None:
    first, second, third = (alternating_flip(0, epoch, 10_000) for epoch in range(3))
    assert first[:12].astype(int).tolist() == [0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    # Binomial(10000, 1/2): five standard deviations are 250.
    assert abs(int(first.sum()) - 5000) < 250
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(third, first)
    np.testing.assert_array_equal(alternating_flip(0, 0, 7), first[:7])
    assert abs(int((alternating_flip(1, 0, 10_000) ^ first).sum()) - 5000) < 250
