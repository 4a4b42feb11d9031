"""The corruptions of ImageNet-C by what each must do to pictures that show it."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from cnn.data.contract import ArraySource, SourceInfo
from cnn.data.corruptions import CORRUPTIONS, SEVERITIES, Corrupted, corrupted

RNG = np.random.default_rng


def picture(size=32, channels=3, seed=0):
    """Smooth random patches, so that blurs and shifts show."""
    rough = RNG(seed).integers(0, 256, (6, 6, channels), np.uint8)
    planes = [Image.fromarray(rough[..., c]).resize((size, size)) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def flat(level, size=100, channels=1):
    return np.full((size, size, channels), level, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_same_draw_same_picture_of_the_same_shape(name, channels):
    image = picture(channels=channels)
    for severity in SEVERITIES:
        first, again = (corrupted(image, name, severity, RNG(7)) for _ in range(2))
        assert first.dtype == np.uint8
        assert first.shape == image.shape
        np.testing.assert_array_equal(first, again)
        assert (first != image).any()


@pytest.mark.parametrize(
    "name", sorted(set(CORRUPTIONS) - {"elastic_transform", "snow", "frost", "fog"})
)
def test_higher_severity_changes_more(name):
    """On the mean of pictures; the paper's constants of the other four go up and down."""
    pictures = [picture(96, seed=seed) for seed in range(3)]
    distances = [
        np.mean(
            [
                np.abs(corrupted(p, name, severity, RNG(i)).astype(int) - p).mean()
                for i, p in enumerate(pictures)
            ]
        )
        for severity in (1, 5)
    ]
    assert distances[1] > 1.1 * distances[0]


def test_there_are_fifteen_in_the_order_of_the_paper():
    assert list(CORRUPTIONS)[:4] == [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
    ]
    assert len(CORRUPTIONS) == 15


def test_noises_have_their_deviations():
    gray = flat(128)
    noisy = corrupted(gray, "gaussian_noise", 1, RNG(0)).astype(float)
    assert noisy.std() == pytest.approx(0.08 * 255, rel=0.03)
    # A Poisson count of mean m has variance m: here of 60 photons for white.
    share = 128 / 255
    shot = corrupted(gray, "shot_noise", 1, RNG(0)).astype(float)
    assert shot.std() == pytest.approx(255 * math.sqrt(share / 60), rel=0.03)
    impulse = corrupted(gray, "impulse_noise", 5, RNG(0))
    assert (impulse == 0).mean() == pytest.approx(0.135, abs=0.015)
    assert (impulse == 255).mean() == pytest.approx(0.135, abs=0.015)
    assert (impulse == 128).mean() == pytest.approx(0.73, abs=0.02)


def test_brightness_keeps_the_hue_and_contrast_the_mean():
    colour = np.broadcast_to(np.array([100, 50, 0], np.uint8), (8, 8, 3))
    value = 100 / 255 + 0.3
    expected = [round(255 * value - 0.5), round(255 * value / 2 - 0.5), 0]
    np.testing.assert_allclose(corrupted(colour, "brightness", 3, RNG(0))[0, 0], expected, atol=1)
    black = corrupted(flat(0, 8, 3), "brightness", 1, RNG(0))
    assert set(np.unique(black)) == {25}
    half = np.zeros((8, 8, 1), np.uint8)
    half[:4] = 200
    assert set(np.unique(corrupted(half, "contrast", 1, RNG(0)))) == {60, 140}


def dot(size, at):
    image = np.zeros((size, size, 1), np.uint8)
    image[at] = 255
    return image


def test_defocus_makes_a_disk_of_its_radius():
    spread = corrupted(dot(224, (100, 100)), "defocus_blur", 4, RNG(0))
    rows, columns = np.nonzero(spread[:, :, 0])
    distance = np.hypot(rows - 100, columns - 100).max()
    assert 7 <= distance < 9.5
    # The disk of 197 pixels shares 255 levels equally.
    assert spread[100, 100, 0] == 255 // 197


def test_lengths_follow_the_size_of_the_picture():
    spread = corrupted(dot(56, (25, 25)), "defocus_blur", 4, RNG(0))
    rows, columns = np.nonzero(spread[:, :, 0])
    assert 2 <= np.hypot(rows - 25, columns - 25).max() < 4


def test_motion_goes_to_one_side_along_a_line():
    smeared = corrupted(dot(224, (100, 100)), "motion_blur", 1, RNG(3))[:, :, 0]
    rows, columns = np.nonzero(smeared)
    # Each pixel looks to its right, so the dot goes to the left, at most 2 x 10 pixels.
    assert columns.max() == 100
    assert 80 <= columns.min() < 96
    slope = np.polyfit(columns, rows, 1)
    assert np.abs(np.polyval(slope, columns) - rows).max() < 1.0
    assert smeared[100, 100] == smeared.max()


def test_zoom_leaves_the_middle_and_moves_the_border():
    rings = np.hypot(*np.mgrid[-48:48, -48:48]) % 16 < 8
    image = (rings * 255).astype(np.uint8)[:, :, None]
    zoomed = corrupted(image, "zoom_blur", 1, RNG(0)).astype(int)
    changed = np.abs(zoomed - image)[:, :, 0]
    assert changed[44:52, 44:52].mean() < changed[:, :8].mean() / 2


def test_glass_takes_pixels_from_near_by():
    """Left of a border by more than the reach nothing of the right side arrives."""
    image = flat(0, 224)
    image[:, 112:] = 200
    seen = corrupted(image, "glass_blur", 1, RNG(0))[:, :, 0]
    assert (seen[:, :100] == 0).all()
    assert (seen[:, 124:] == 200).all()
    assert len(np.unique(seen[20:200, 108:116])) > 10


def test_pixelate_has_so_many_pixels_and_jpeg_is_pillows():
    image = picture(40)
    blocks = corrupted(image, "pixelate", 5, RNG(0))
    assert (blocks[::4, ::4].repeat(4, 0).repeat(4, 1) == blocks).all()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=7)
    expected = np.asarray(Image.open(buffer))
    np.testing.assert_array_equal(corrupted(image, "jpeg_compression", 5, RNG(0)), expected)


def test_elastic_moves_and_keeps_the_levels():
    image = flat(90, 64)
    np.testing.assert_array_equal(corrupted(image, "elastic_transform", 2, RNG(0)), image)
    moved = corrupted(dot(224, (112, 112)), "elastic_transform", 3, RNG(0))
    rows, columns = np.nonzero(moved[:, :, 0])
    # The corners move by 4.9 pixels at most and the bends by about two.
    assert np.hypot(rows - 112, columns - 112).max() < 12


def test_examples_are_corrupted_by_their_index_alone():
    images = np.stack([picture(20, 1)] * 3)
    info = SourceInfo("some", ("a", "b"))
    source = ArraySource(images, np.array([0, 1, 0]), info)
    made = Corrupted(source, lambda image: image[2:18, 2:18], "gaussian_noise", 2)
    assert len(made) == 3
    assert made.labels.tolist() == [0, 1, 0]
    assert made.info.name == "some gaussian_noise 2"
    backwards = [made[index]["image"] for index in (2, 1, 0)][::-1]
    for index, image in enumerate(backwards):
        np.testing.assert_array_equal(made[index]["image"], image)
        assert image.shape == (16, 16, 1)
    # The same picture at another place has other noise.
    assert (backwards[0] != backwards[1]).any()
    other = Corrupted(source, lambda image: image[2:18, 2:18], "gaussian_noise", 3)
    assert (other[0]["image"] != backwards[0]).any()
