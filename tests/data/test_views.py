import numpy as np
import pytest

from cnn.data.contract import ArraySource, SourceInfo
from cnn.data.pipeline import Host, eval_batches
from cnn.data.transforms import make_preprocess
from cnn.data.views import make_views
from cnn.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (32, 45, 3), np.uint8)


def preprocess(**changes):
    values = {"image_size": 28, "channels": 3, "mean": (0.0,), "std": (1 / 255,)}
    return make_preprocess(**{**values, "crop_fraction": 0.875, **changes})


def test_center_is_the_transform_itself() -> None:
    one = preprocess()
    assert make_views(one) is one


def test_flip_is_the_centre_and_its_mirror_image() -> None:
    one = preprocess()
    first, second = make_views(one, "flip")(PHOTO)
    np.testing.assert_array_equal(first, one(PHOTO))
    np.testing.assert_array_equal(second, one(PHOTO)[:, ::-1])


def test_translate_is_the_centre_moved_by_a_pixel_both_ways_and_mirror_images() -> None:
    one = preprocess()
    views, centre = make_views(one, "translate")(PHOTO), one(PHOTO)
    assert views.shape == (6, 28, 28, 3)
    np.testing.assert_array_equal(views[0], centre)
    np.testing.assert_array_equal(views[1][1:, 1:], centre[:-1, :-1])
    np.testing.assert_array_equal(views[2][:-1, :-1], centre[1:, 1:])
    # The border is mirrored about its last pixel, so the corner is that diagonally inside.
    np.testing.assert_array_equal(views[1][0, 0], centre[1, 1])
    np.testing.assert_array_equal(views[2][-1, -1], centre[-2, -2])
    np.testing.assert_array_equal(views[3:], views[:3, :, ::-1])


def test_ten_crops_are_corners_and_centre_of_the_square_and_their_mirror_images() -> None:
    one = preprocess()
    crops = np.round(make_views(one, "ten_crop")(PHOTO))
    assert crops.shape == (10, 28, 28, 3)
    # 28 / 0.875 = 32: the middle 32 columns of 45, 6 (6.5 to even) from the left.
    square = PHOTO[:, 6:38]
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    for crop, mirrored, (top, left) in zip(crops[:5], crops[5:], corners, strict=True):
        np.testing.assert_array_equal(crop, square[top : top + 28, left : left + 28])
        np.testing.assert_array_equal(mirrored, crop[:, ::-1])
    np.testing.assert_array_equal(crops[4], np.round(one(PHOTO)))


@pytest.mark.parametrize("shape", [(45, 32), (200, 90), (7, 9), (32, 32)])
@pytest.mark.parametrize("resize", ["shorter", "stretch"])
def test_the_fifth_of_ten_crops_is_the_centre_crop(resize, shape) -> None:
    one = preprocess(resize=resize, interpolation="bicubic")
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    fifth = make_views(one, "ten_crop")(image)[4]
    # Where the halves of two crops do not add up to that of one, it is a pixel off.
    shifted = [np.roll(fifth, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    inner = [np.abs(s - one(image))[2:-2, 2:-2].max() for s in shifted]
    assert min(inner) < 1e-3


@pytest.mark.parametrize(
    ("views", "changes", "message"),
    [
        ("ten_crops", {}, "unknown evaluation.views 'ten_crops'; did you mean 'ten_crop'"),
        ("ten_crop", {"crop_fraction": 1.0}, "preprocess.crop_fraction is 1; set it to 0.875"),
    ],
)
def test_errors(views, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        make_views(preprocess(**changes), views)


@pytest.mark.parametrize("host_count", [1, 2])
def test_every_example_comes_once_in_all_its_views(host_count) -> None:
    images = RNG.integers(0, 256, (11, 28, 28, 1), np.uint8)
    source = ArraySource(images, np.arange(11), SourceInfo("x", ("a",)))
    see = make_views(preprocess(channels=1, crop_fraction=1.0), "flip")
    hosts = [
        list(eval_batches(source, see, batch_size=8, host=Host(i, host_count)))
        for i in range(host_count)
    ]
    batches = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]
    assert [batch["image"].shape for batch in batches] == [(8, 2, 28, 28, 1)] * 2
    real = np.concatenate([batch["weight"] for batch in batches]) > 0
    seen = np.concatenate([batch["image"] for batch in batches])[real]
    labels = np.concatenate([batch["label"] for batch in batches])[real]
    np.testing.assert_array_equal(labels, np.arange(11))
    np.testing.assert_array_equal(np.round(seen[:, 0]), images)
    np.testing.assert_array_equal(np.round(seen[:, 1]), images[:, :, ::-1])
