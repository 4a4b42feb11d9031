"""Changes of images: what they do to single pixels, and that they are the same each time."""

import math

import numpy as np
import pytest

from cnn.compare import corruptions
from cnn.compare.corruptions import Condition, make_view
from cnn.compare.settings import Robustness
from cnn.data import make_preprocess


def dot(size=11, at=(5, 5)):
    image = np.zeros((size, size, 1), np.uint8)
    image[at] = 200
    return image


def plain(size=11):
    """Levels as shares of white."""
    return make_preprocess(image_size=size, channels=1, mean=(0.0,), std=(1.0,))


def place(image):
    return np.unravel_index(image[:, :, 0].argmax(), image.shape[:2])


def test_shift_moves_by_so_many_pixels_in_all_eight_directions():
    seen = set()
    for seed in range(100):
        moved = corruptions.shift(dot(), 3.0, np.random.default_rng(seed))
        assert moved.sum() == 200
        y, x = place(moved)
        seen.add((y - 5, x - 5))
    assert seen == {(3 * y, 3 * x) for y, x in corruptions.DIRECTIONS}
    assert len(seen) == 8


def test_shift_brings_in_black():
    white = np.full((5, 5, 2), 255, np.uint8)
    moved = corruptions.shift(white, 2.0, np.random.default_rng(0))
    assert set(np.unique(moved)) == {0, 255}
    assert (moved == 0).mean() in (pytest.approx(2 / 5), pytest.approx(1 - 9 / 25))


def test_rotation_turns_to_both_sides():
    at = (5, 9)
    seen = {
        place(corruptions.rotation(dot(at=at), 90.0, np.random.default_rng(seed)))
        for seed in range(20)
    }
    assert seen == {(1, 5), (9, 5)}


def test_noise_has_its_deviation_and_stays_in_range():
    gray = np.full((100, 100, 1), 128, np.uint8)
    noisy = corruptions.noise(gray, 0.1, np.random.default_rng(0))
    assert noisy.dtype == np.uint8
    # A tenth of white, and the rounding to whole levels.
    expected = math.sqrt(25.5**2 + 1 / 12)
    assert noisy.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * 10_000))
    strong = corruptions.noise(gray, 2.0, np.random.default_rng(0))
    assert (strong.min(), strong.max()) == (0, 255)


def test_blur_spreads_and_keeps_the_sum():
    blurred = corruptions.blur(dot(21, (10, 10)), 1.0, np.random.default_rng(0))
    assert blurred.max() < 60
    assert blurred.sum() == pytest.approx(200, rel=0.1)
    assert place(blurred) == (10, 10)


def test_a_view_is_the_same_each_time_and_another_for_another_picture():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 11, 11, 1), np.uint8)
    for kind in corruptions.CORRUPTIONS:
        view = make_view(Condition(kind, 2.0 if kind != "noise" else 0.2), plain(), 11)
        first = [view(picture) for picture in pictures]
        again = [view(picture) for picture in pictures[::-1]][::-1]
        np.testing.assert_array_equal(first, again)
    noise = make_view(Condition("noise", 0.2), plain(), 11)
    changes = [noise(picture) - plain()(picture) for picture in pictures]
    assert not np.allclose(changes[0], changes[1])


def test_models_with_larger_images_see_the_same_shift():
    """Two pixels of eleven are four of twenty-two, in the same direction."""
    at = place(make_view(Condition("shift", 2.0), plain(), 11)(dot()))
    large = make_view(Condition("shift", 2.0), plain(22), 11)(dot())
    assert large.shape == (22, 22, 1)
    moved = (np.array(place(large)) - np.array(place(plain(22)(dot())))).tolist()
    assert moved == [2 * (at[0] - 5), 2 * (at[1] - 5)]


def test_no_change_is_what_the_model_sees_otherwise():
    np.testing.assert_array_equal(
        make_view(Condition("none", 0.0), plain(), 11)(dot()), plain()(dot())
    )


def test_size_resizes():
    view = make_view(Condition("size", 16.0), plain(), 11)
    assert view(dot()).shape == (16, 16, 1)
    assert make_view(Condition("size", 16.0), plain(22), 11)(dot()).shape == (32, 32, 1)


def test_conditions_are_all_that_were_asked_for():
    asked = Robustness((1, 2), (15.0,), (0.1,), (), (20, 32), 0)
    assert list(corruptions.conditions(asked)) == [
        ("none", 0.0),
        ("shift", 1.0),
        ("shift", 2.0),
        ("rotation", 15.0),
        ("noise", 0.1),
        ("size", 20.0),
        ("size", 32.0),
    ]
