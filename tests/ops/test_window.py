import pytest

from cnn.errors import UserError
from cnn.ops.window import check_fits, pair, same_padding, sides


def test_a_number_is_meant_for_both_axes():
    assert pair(3) == (3, 3)
    assert pair((1, 2)) == (1, 2)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        (((0, 1), (2, 3)), ((0, 1), (2, 3))),
    ],
)
def test_sides(padding, expected):
    assert sides(padding) == expected


@pytest.mark.parametrize(
    ("image", "window", "stride", "expected"),
    [
        ((224, 225), 3, 2, ((0, 1), (1, 1))),
        ((7, 8), 5, 1, ((2, 2), (2, 2))),
        ((4, 9), (3, 2), (4, 3), ((0, 0), (0, 0))),
    ],
)
def test_same_padding_puts_the_odd_pixel_after(image, window, stride, expected):
    assert same_padding(image, window, stride) == expected


def test_a_window_of_the_whole_image_fits():
    check_fits((5, 3), (3, 1), padding=0, dilation=2)
    check_fits((1, 1), (3, 3), padding=1, dilation=1)


@pytest.mark.parametrize(("image", "dilation"), [((4, 5), 2), ((5, 4), 2), ((2, 9), 1)])
def test_an_image_that_is_too_small_is_named(image, dilation):
    with pytest.raises(UserError, match=f"{image[0]}x{image[1]} pixels.*3x3 window"):
        check_fits(image, (3, 3), padding=0, dilation=dilation)
