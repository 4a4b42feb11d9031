import numpy as np
import pytest

from cnn import data
from cnn.data.borders import border_weights
from cnn.errors import UserError


def test_against_the_equation_pixel_by_pixel():
    mask = np.zeros((9, 12), np.uint8)
    mask[2:5, 1:4], mask[3:7, 6:9], mask[0, 11] = 1, 1, 2
    mask[8, 0] = data.IGNORED
    objects = [np.argwhere(one) for one in (mask[:, :5] == 1, mask == 2)]
    right = mask.copy()
    right[:, :5] = 0
    objects.append(np.argwhere(right == 1))
    expected = np.ones(mask.shape)
    for row, column in np.argwhere(mask == 0):
        distances = sorted(
            np.sqrt(((points - (row, column)) ** 2).sum(axis=1)).min() for points in objects
        )
        expected[row, column] += 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 9))
    np.testing.assert_allclose(border_weights(mask, weight=10.0, sigma_px=3.0), expected, rtol=1e-5)


def test_a_single_object_has_no_border():
    mask = np.zeros((5, 5), np.uint8)
    mask[1:3, 1:3] = 4
    assert (border_weights(mask, weight=10.0, sigma_px=3.0) == 1).all()


@pytest.mark.parametrize(("weight", "sigma_px"), [(-1.0, 5.0), (1.0, 0.0)])
def test_out_of_range_is_one_clear_line(weight, sigma_px):
    preprocess = data.make_preprocess(image_size=8, channels=1, mean=(0.0,), std=(1.0,))
    with pytest.raises(UserError, match=r"borders.weight must be at least 0"):
        data.make_borders(data.make_augment(preprocess), weight=weight, sigma_px=sigma_px)
