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


def test_a_data_uri_holds_the_picture():
    image = random_image(28, 28, 1)
    np.testing.assert_array_equal(decoded(picture.data_uri(image)), image)


def test_a_small_picture_is_not_scaled():
    image = random_image(100, 20, 1)
    assert picture.shrunk(image, limit_px=100) is image


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_large_picture_is_averaged_down_to_the_limit(channels):
    large = random_image(400, 200, channels)
    small = picture.shrunk(large, limit_px=100)
    blocks = large.reshape(100, 4, 50, 4, channels).mean(axis=(1, 3))
    assert small.dtype == np.uint8
    np.testing.assert_allclose(small, blocks, atol=1.0)


def test_a_strip_keeps_a_pixel():
    assert picture.shrunk(random_image(2000, 1, 3), limit_px=100).shape == (100, 1, 3)
