import math

import numpy as np
import pytest
from scipy import ndimage

from cnn.data.augment import make_augment
from cnn.data.geometry import map_boxes, map_mask
from cnn.data.moves import Affine, Crop, Flip, Resize, geometry_of, move
from cnn.data.resize import resized
from cnn.data.transforms import make_preprocess

PHOTO = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)
# What bilinear filters agree on to less than a grey level: no noise.
SMOOTH = np.stack(
    [ndimage.gaussian_filter(PHOTO[:, :, i].astype(float), 2).astype(np.uint8) for i in range(3)],
    axis=-1,
)


def by_scipy(image, degrees, shift, scale):
    """The affine map by the book: rotate and scale about the centre, then move."""
    angle = math.radians(degrees)
    # On (y, x) with y downward, counter-clockwise as seen.
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    back = np.linalg.inv(turn)
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - back @ (centre + np.array(shift))
    planes = [
        ndimage.affine_transform(image[:, :, i].astype(float), back, offset, order=1, cval=np.nan)
        for i in range(image.shape[-1])
    ]
    return np.stack(planes, -1)


@pytest.mark.parametrize(
    ("degrees", "shift", "scale"),
    [
        (0.0, (0.0, 0.0), 1.0),
        (17.0, (0.0, 0.0), 1.0),
        (-40.0, (0.0, 0.0), 1.0),
        (0.0, (2.25, -3.5), 1.0),
        (0.0, (0.0, 0.0), 1.3),
        (0.0, (0.0, 0.0), 0.8),
        (25.0, (1.5, 2.0), 1.1),
    ],
)
def test_affine_agrees_with_scipy(degrees, shift, scale) -> None:
    got, want = (
        Affine(degrees, shift, scale).pixels(SMOOTH),
        by_scipy(SMOOTH, degrees, shift, scale),
    )
    inside = ~np.isnan(want)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(got[inside], want[inside], atol=1.01)


def test_affine_of_right_angles_and_whole_pixels() -> None:
    square = PHOTO[:, :24]
    # Pillow cuts to whole grey levels, so 159.9999 becomes 159.
    turned = Affine(90.0, (0.0, 0.0), 1.0).pixels(square)
    np.testing.assert_allclose(turned, np.rot90(square).astype(float), atol=1)
    moved = Affine(0.0, (3.0, -2.0), 1.0).pixels(PHOTO)
    np.testing.assert_array_equal(moved[3:, :-2], PHOTO[:-3, 2:])
    assert not moved[:3].any()
    assert not moved[:, -2:].any()
    one = Affine(180.0, (0.0, 0.0), 1.0).pixels(square[:, :, :1])
    np.testing.assert_allclose(one, square[::-1, ::-1, :1].astype(float), atol=1)


STEPS = {
    "crop": Crop(3, 5, 10, 12),
    "crop beyond all sides": Crop(-4, -2, 30, 40),
    "crop beyond a corner": Crop(20, -7, 12, 9),
    "crop above": Crop(-50, 0, 8, 8),
    "crop to the right": Crop(0, 99, 8, 8),
    "flip": Flip(),
    "wider": Resize(17, 40, "nearest", resized),
    "higher": Resize(48, 9, "nearest", resized),
}


@pytest.mark.parametrize("name", STEPS)
def test_pixels_go_where_the_geometry_says(name) -> None:
    step, plane = STEPS[name], PHOTO[:, :, 0]
    got = step.pixels(plane[:, :, None])[:, :, 0]
    steps = geometry_of(plane.shape, [step])
    assert got.shape == steps[0].size
    np.testing.assert_array_equal(got, map_mask(steps, plane, outside=0))


def test_a_crop_fills_each_channel_with_its_level() -> None:
    got = Crop(-1, -2, 26, 34, (7, 8, 9)).pixels(PHOTO)
    np.testing.assert_array_equal(got[1:25, 2:33], PHOTO)
    for edge in (got[0], got[25], got[:, 0], got[:, 33]):
        np.testing.assert_array_equal(edge, np.broadcast_to((7, 8, 9), edge.shape))


def blob(shape, y, x) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return (255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18)).astype(np.uint8)[..., None]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "options",
    [
        {"crop_area_min": 0.5, "flip_rate": 0.5},
        {"pad_px": 4, "flip_rate": 0.5},
        {"rotate_degrees": 30.0, "shift_fraction": 0.1, "scale_fraction": 0.2},
        {"crop_area_min": 0.6, "flip_rate": 0.5, "pad_px": 3, "rotate_degrees": 15.0},
    ],
    ids=lambda options: "+".join(options),
)
def test_a_picture_and_its_box_are_augmented_by_the_same_draw(options, seed) -> None:
    shape = (72, 96)
    preprocess = make_preprocess(
        image_size=48, channels=1, mean=(0.0,), std=(1 / 255,), crop_fraction=0.9
    )
    augment, rng = make_augment(preprocess, **options), np.random.default_rng(seed)
    moves = augment.draw(shape, rng)
    image = blob(shape, 33.0, 52.0)
    seen = augment.pixels(image, moves, rng)[:, :, 0]
    np.testing.assert_array_equal(augment(image, np.random.default_rng(seed))[:, :, 0], seen)
    around = np.array([[28 / 72, 47 / 96, 38 / 72, 57 / 96]], np.float32)
    box, stays = map_boxes(geometry_of(shape, moves), around)
    assert stays[0]
    # Where the whole blob is seen, its middle is that of the box.
    if max(seen[0].max(), seen[-1].max(), seen[:, 0].max(), seen[:, -1].max()) < 1:
        middle = np.array(ndimage.center_of_mass(seen)) + 0.5
        want = (box[0, :2] + box[0, 2:]) / 2 * 48
        np.testing.assert_allclose(middle, want, atol=0.3)
    else:
        assert np.unravel_index(seen.argmax(), seen.shape)[0] <= box[0, 2] * 48


@pytest.mark.parametrize("resize", ["shorter", "stretch", "letterbox"])
def test_the_transform_of_evaluation_has_a_geometry_too(resize) -> None:
    fraction = 1.0 if resize == "letterbox" else 0.8
    preprocess = make_preprocess(
        image_size=40, channels=1, mean=(0.0,), std=(1.0,), resize=resize, crop_fraction=fraction
    )
    moves = preprocess.moves((60, 90))
    seen = move(blob((60, 90), 25.0, 50.0), moves)[:, :, 0]
    box, _ = map_boxes(
        geometry_of((60, 90), moves), np.array([[20 / 60, 45 / 90, 30 / 60, 55 / 90]], np.float32)
    )
    middle = np.array(ndimage.center_of_mass(seen)) + 0.5
    np.testing.assert_allclose(middle, (box[0, :2] + box[0, 2:]) / 2 * 40, atol=0.3)
