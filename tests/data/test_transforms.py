import numpy as np
import pytest
from PIL import Image

from cnn.data.resize import INTERPOLATIONS, resized
from cnn.data.transforms import longer_side, make_preprocess, shorter_side, to_channels
from cnn.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (40, 61, 3), np.uint8)


def preprocess(**changes):
    values = {"image_size": 16, "channels": 3, "mean": (0.0,), "std": (1.0,)}
    return make_preprocess(**{**values, **changes})


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_default_is_shorter_side_then_centre_crop_as_pillow_makes_them(interpolation) -> None:
    got = preprocess(crop_fraction=0.8, interpolation=interpolation)(PHOTO)
    # 40 x 61 -> 20 x 30 (30.5 cut), of which 16 x 16 in the middle.
    method = getattr(Image.Resampling, interpolation.upper())
    want = np.asarray(Image.fromarray(PHOTO).resize((30, 20), method))[2:18, 7:23]
    np.testing.assert_allclose(got, want / 255, atol=1e-6)
    assert got.dtype == np.float32


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    for interpolation in ("bilinear", "bicubic", "box", "lanczos", "hamming"):
        small = resized(stripes, 16, 16, interpolation)[2:-2, 2:-2]
        np.testing.assert_allclose(small, 127.5, atol=3)
    assert set(np.unique(resized(stripes, 16, 16, "nearest"))) <= {0, 255}


def test_stretch_ignores_the_aspect_ratio() -> None:
    got = preprocess(resize="stretch")(PHOTO)
    want = np.asarray(Image.fromarray(PHOTO).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(got, want / 255, atol=1e-6)


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = preprocess(mean=mean, std=std)(image)
    np.testing.assert_allclose(got, (image / 255 - mean) / std, atol=2e-6)
    one = preprocess(mean=(0.3,), std=(0.5,))(image)
    np.testing.assert_allclose(one, (image / 255 - 0.3) / 0.5, atol=2e-6)


def test_the_input_is_not_changed() -> None:
    image = RNG.integers(0, 256, (16, 16, 1), np.uint8)
    before = image.copy()
    preprocess(channels=1, mean=(0.5,), std=(0.5,))(image)[:] = 9
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("shape", "size", "want"),
    [((40, 61), 20, (20, 30)), ((63, 40), 20, (31, 20)), ((7, 7), 9, (9, 9)), ((1, 9), 4, (4, 36))],
)
def test_shorter_side(shape, size, want) -> None:
    assert shorter_side(*shape, size) == want


@pytest.mark.parametrize(
    ("shape", "size", "want"),
    [((40, 61), 20, (13, 20)), ((63, 40), 20, (20, 13)), ((7, 7), 9, (9, 9)), ((1, 99), 4, (1, 4))],
)
def test_longer_side(shape, size, want) -> None:
    assert longer_side(*shape, size) == want


@pytest.mark.parametrize("channels", [1, 3])
def test_letterbox_shows_all_of_the_image_and_fills_with_the_mean(channels) -> None:
    mean = (0.2, 0.4, 0.6)[:channels]
    image = PHOTO[:, :, :channels]
    change = preprocess(resize="letterbox", channels=channels, mean=mean, std=(0.5,))
    got = change.fit(image)
    # 40 x 61 -> 10 x 16 (10.5 to even), three rows above and below.
    np.testing.assert_array_equal(got[3:13], resized(image, 10, 16, "bilinear"))
    np.testing.assert_array_equal(
        got[:3], np.broadcast_to((51, 102, 153)[:channels], (3, 16, channels))
    )
    np.testing.assert_allclose(change(image)[13:], 0.0, atol=1e-6)


def test_changed_is_made_from_the_other_values() -> None:
    change = preprocess(mean=(0.2,), std=(0.5,), crop_fraction=0.5, resize="stretch")
    got = change.changed(image_size=8)(PHOTO)
    want = preprocess(image_size=8, mean=(0.2,), std=(0.5,), crop_fraction=0.5, resize="stretch")
    np.testing.assert_array_equal(got, want(PHOTO))


@pytest.mark.parametrize(("side", "start"), [(8, 2), (7, 2), (5, 0), (9, 2), (4, 0)])
def test_the_centre_crop_is_where_torchvision_puts_it(side, start) -> None:
    # int(round((side - 4) / 2)), rounding halves to even.
    image = np.arange(side, dtype=np.uint8)[:, None, None].repeat(side, 1)
    fit = preprocess(image_size=4, channels=1, crop_fraction=4 / side).fit
    assert fit(image)[:, 0, 0].tolist() == list(range(start, start + 4))
    assert fit(image.swapaxes(0, 1))[0, :, 0].tolist() == list(range(start, start + 4))


def test_channels() -> None:
    gray = PHOTO[:, :, :1]
    np.testing.assert_array_equal(to_channels(gray, 3), np.concatenate([gray] * 3, -1))
    luma = np.asarray(Image.fromarray(PHOTO).convert("L"))
    np.testing.assert_array_equal(to_channels(PHOTO, 1), luma[:, :, None])
    with pytest.raises(UserError, match=r"an image of 3 channels cannot become one of 5"):
        to_channels(PHOTO, 5)


def test_any_number_of_channels_is_resized_channel_by_channel() -> None:
    image = RNG.integers(0, 256, (40, 61, 5), np.uint8)
    got = preprocess(channels=5)(image)
    for i in range(5):
        alone = preprocess(channels=1)(image[:, :, i : i + 1])
        np.testing.assert_array_equal(got[:, :, i : i + 1], alone)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (300, 1, 3), (16, 17, 1), (500, 3, 1)])
def test_any_size_comes_out_square(shape) -> None:
    assert preprocess(crop_fraction=0.875)(np.zeros(shape, np.uint8)).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": "longer"}, "unknown resize 'longer'"),
        ({"interpolation": "bilinaer"}, "did you mean 'bilinear'"),
        ({"image_size": 0}, "no image of 0 pixels"),
        ({"channels": 0}, "with 0 channels"),
        ({"resize": "letterbox", "crop_fraction": 0.8}, "crop_fraction must be 1, got 0.8"),
        ({"crop_fraction": 0.0}, "crop_fraction must be above 0"),
        ({"crop_fraction": 1.1}, "crop_fraction must be above 0 and at most 1"),
        ({"mean": (0.1, 0.2)}, "mean has 2 values for 3 channels; give 1 or 3"),
        ({"std": ()}, "std has 0 values"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
    ],
)
def test_errors(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        preprocess(**changes)
