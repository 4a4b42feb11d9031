import concurrent.futures

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cnn.data.fast_resize import fast_resized
from cnn.data.resize import INTERPOLATIONS, resized

# Where a filter overshoots, the two cut at 0 and 255 in another order: this noise never does.
NOISE = np.random.default_rng(0).integers(64, 192, (61, 83, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(NOISE).resize((310, 270)).filter(ImageFilter.GaussianBlur(2)))
SIZES = [(30, 40), (61, 40), (200, 90), (1, 1), (300, 300)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("interpolation", "atol"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize("image", [NOISE, PHOTO], ids=["noise", "photo"])
def test_it_is_pillows_resize_but_for_rounding(image, interpolation, atol, channels, size) -> None:
    got = fast_resized(image[:, :, :channels], *size, interpolation)
    want = resized(image[:, :, :channels], *size, interpolation)
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got.astype(int), want.astype(int), atol=atol)


@pytest.mark.parametrize("size", SIZES)
def test_lanczos_is_pillows_on_photographs(size) -> None:
    got, want = (f(PHOTO, *size, "lanczos").astype(int) for f in (fast_resized, resized))
    np.testing.assert_allclose(got, want, atol=2)


@pytest.mark.parametrize("size", SIZES)
def test_bilinear_never_overshoots(size) -> None:
    wild = np.random.default_rng(1).integers(0, 2, (61, 83, 3), np.uint8) * 255
    got, want = (f(wild, *size, "bilinear").astype(int) for f in (fast_resized, resized))
    np.testing.assert_allclose(got, want, atol=1)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_what_it_cannot_do_pillow_does(interpolation) -> None:
    five = np.concatenate([NOISE, NOISE[:, :, :2]], -1)
    got = fast_resized(five, 20, 30, interpolation)
    np.testing.assert_array_equal(got, resized(five, 20, 30, interpolation))
    if interpolation in ("nearest", "box", "hamming"):
        got = fast_resized(NOISE, 20, 30, interpolation)
        np.testing.assert_array_equal(got, resized(NOISE, 20, 30, interpolation))


def test_a_part_of_an_image_is_resized_without_its_surroundings() -> None:
    part = NOISE[10:30, 20:50]
    got = fast_resized(part, 16, 16, "bilinear")
    np.testing.assert_array_equal(got, fast_resized(part.copy(), 16, 16, "bilinear"))
    assert fast_resized(part, 20, 30, "bilinear") is part


def test_threads_do_not_disturb_one_another() -> None:
    sizes = [(10 + i % 50, 100 - i % 60) for i in range(200)]
    want = [fast_resized(PHOTO, *size, "bilinear") for size in sizes]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = pool.map(lambda size: fast_resized(PHOTO, *size, "bilinear"), sizes)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
