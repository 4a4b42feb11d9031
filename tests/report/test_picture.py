import base64

import numpy as np
import pytest

from cnn.report import picture


def random_image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def decoded(uri):
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return picture.decode_png(base64.b64decode(content))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_is_without_loss(channels):
    image = random_image(5, 7, channels)
    np.testing.assert_array_equal(picture.decode_png(picture.encode_png(image)), image)


def test_of_other_channels_the_first_is_shown():
    image = random_image(5, 7, 6)
    np.testing.assert_array_equal(picture.decode_png(picture.encode_png(image)), image[..., :1])


def test_a_small_picture_is_left_as_it_is():
    image = random_image(28, 28, 1)
    np.testing.assert_array_equal(decoded(picture.data_uri(image)), image)


def test_a_large_picture_is_scaled_to_the_limit():
    image = np.full((400, 200, 3), 9, np.uint8)
    small = decoded(picture.data_uri(image, limit_px=100))
    np.testing.assert_array_equal(small, np.full((100, 50, 3), 9, np.uint8))
