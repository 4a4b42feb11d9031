import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cnn.data import distort

PHOTO = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)).filter(
        ImageFilter.GaussianBlur(1)
    )
)
GRAY = PHOTO[:, :, :1]
ALL = [
    distort.shear_x,
    distort.shear_y,
    distort.translate_x,
    distort.translate_y,
    distort.rotate,
    distort.brightness,
    distort.saturation,
    distort.contrast,
    distort.sharpness,
    distort.hue,
    distort.posterize,
    distort.solarize,
    distort.invert,
    distort.autocontrast,
    distort.equalize,
    distort.identity,
]


@pytest.mark.parametrize("op", ALL)
@pytest.mark.parametrize("image", [PHOTO, GRAY], ids=["rgb", "gray"])
def test_shape_and_type_stay_and_the_input_too(op, image) -> None:
    before = image.copy()
    got = op(image, 0.3)
    assert (got.shape, got.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("op", ALL[:10])
def test_no_amount_changes_nothing(op) -> None:
    if op is distort.hue:
        np.testing.assert_allclose(op(PHOTO, 0.0).astype(int), PHOTO.astype(int), atol=4)
    else:
        np.testing.assert_array_equal(op(PHOTO, 0.0), PHOTO)


@pytest.mark.parametrize(
    ("op", "enhancer"),
    [
        (distort.brightness, ImageEnhance.Brightness),
        (distort.saturation, ImageEnhance.Color),
        (distort.contrast, ImageEnhance.Contrast),
        (distort.sharpness, ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("amount", [-1.0, -0.4, 0.9])
def test_enhancers_are_pillows(op, enhancer, amount) -> None:
    want = np.asarray(enhancer(Image.fromarray(PHOTO)).enhance(1 + amount))
    np.testing.assert_array_equal(op(PHOTO, amount), want)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_pillows(bits) -> None:
    want = np.asarray(ImageOps.posterize(Image.fromarray(PHOTO), bits))
    np.testing.assert_array_equal(distort.posterize(PHOTO, float(bits)), want)
    assert not distort.posterize(PHOTO, 0.0).any()


def test_solarize_add_brightens_dark_levels_only() -> None:
    levels = np.array([0, 17, 127, 128, 255], np.uint8).reshape(1, 5, 1)
    got = distort.solarize_add(levels, 110.0)
    assert got.dtype == np.uint8
    assert got.ravel().tolist() == [110, 127, 237, 128, 255]


def test_add_colour_is_cut_to_levels_and_leaves_gray_pictures() -> None:
    image = np.full((2, 2, 3), (10, 100, 250), np.uint8)
    got = distort.add_colour(image, (-20.0, 0.6, 9.0))
    assert got.dtype == np.uint8
    assert got[1, 0].tolist() == [0, 101, 255]
    np.testing.assert_array_equal(distort.add_colour(image[:, :, :1], (9.0,) * 3), image[:, :, :1])


@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize_is_pillows(threshold) -> None:
    want = np.asarray(ImageOps.solarize(Image.fromarray(PHOTO), threshold))
    np.testing.assert_array_equal(distort.solarize(PHOTO, float(threshold)), want)


def test_whole_histogram_ops_are_pillows() -> None:
    picture = Image.fromarray(PHOTO)
    for op, want in (
        (distort.invert, ImageOps.invert(picture)),
        (distort.autocontrast, ImageOps.autocontrast(picture)),
        (distort.equalize, ImageOps.equalize(picture)),
    ):
        np.testing.assert_array_equal(op(PHOTO), np.asarray(want))
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.3)))
    np.testing.assert_array_equal(distort.gaussian_blur(PHOTO, 1.3), blurred)
    luma = np.asarray(picture.convert("L"))
    np.testing.assert_array_equal(distort.grayscale(PHOTO), np.stack([luma] * 3, -1))
    np.testing.assert_array_equal(distort.grayscale(GRAY), GRAY)


def test_moves_go_where_they_say() -> None:
    left = distort.translate_x(PHOTO, 3.9)
    np.testing.assert_array_equal(left[:, :-3], PHOTO[:, 3:])
    assert not left[:, -3:].any()
    np.testing.assert_array_equal(distort.translate_x(PHOTO, -3.0)[:, 3:], PHOTO[:, :-3])
    np.testing.assert_array_equal(distort.translate_y(PHOTO, 2.0)[:-2], PHOTO[2:])
    sheared = distort.shear_x(PHOTO, 0.5)
    for row in (0, 7, 20):
        shift = int(0.5 + (row + 0.5) * 0.5 + 1e-6)
        want = PHOTO[row, shift:]
        np.testing.assert_array_equal(sheared[row, : len(want)], want)
    np.testing.assert_array_equal(
        distort.shear_y(PHOTO, 0.5), distort.shear_x(PHOTO.swapaxes(0, 1), 0.5).swapaxes(0, 1)
    )
    square = PHOTO[:, :24]
    np.testing.assert_array_equal(distort.rotate(square, 90.0), np.rot90(square))


def test_the_hue_goes_round() -> None:
    red = np.full((1, 1, 3), (200, 40, 40), np.uint8)
    for amount in (1 / 3, -1 / 3, 0.5, 0.1):
        hue, s, v = colorsys.rgb_to_hsv(200 / 255, 40 / 255, 40 / 255)
        want = np.array(colorsys.hsv_to_rgb((hue + amount) % 1, s, v)) * 255
        np.testing.assert_allclose(distort.hue(red, amount)[0, 0], want, atol=5)
    np.testing.assert_array_equal(distort.hue(GRAY, 0.3), GRAY)


def test_erase_is_clipped_to_the_picture() -> None:
    got = distort.erase(PHOTO, (-2, 28, 5, 9), 7)
    assert (got[:3, 28:] == 7).all()
    want = PHOTO.copy()
    want[:3, 28:] = 7
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(distort.erase(PHOTO, (-9, 0, 5, 5), 7), PHOTO)
