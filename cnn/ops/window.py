"""How a window slides over an image: what a stride, a dilation and a padding may be written as."""

from jax import lax

from cnn.errors import UserError

Pair = int | tuple[int, int]
"""(vertical, horizontal), or one number for both."""

Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
"""Pixels added outside: on every side; (above and below, left and right); or
((above, below), (left, right)). There is no "SAME": at stride 2 it pads the bottom and right only,
which is not what most published weights expect; `same_padding` is for those that do."""


def pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a `Pair`."""
    return (value, value) if isinstance(value, int) else value


def sides(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """((above, below), (left, right)) of a `Padding`."""
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding
    above, below = pair(vertical)
    left, right = pair(horizontal)
    return (above, below), (left, right)


def same_padding(
    image: tuple[int, ...], window: Pair, stride: Pair
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What TensorFlow's "SAME" adds: ceil(length / stride) outputs, the odd pixel after.

    Args:
        image: Height and width.
        window: Height and width of the window.
        stride: Pixels between neighbouring windows.
    """
    above_below, left_right = lax.padtype_to_pads(image, pair(window), pair(stride), "SAME")
    return above_below, left_right


def check_fits(
    image: tuple[int, ...], window: tuple[int, ...], *, padding: Padding, dilation: Pair
) -> None:
    """Checks that the window fits into the padded image at least once.

    Args:
        image: Height and width.
        window: Height and width, in taps.
        padding: Of the image.
        dilation: Of the window.

    Raises:
        UserError: If it does not, so that the output would be empty.
    """
    ranges = zip(image, window, sides(padding), pair(dilation), strict=True)
    for size, taps, (before, after), step in ranges:
        if size + before + after < (taps - 1) * step + 1:
            raise UserError(
                f"images too small for this model: a layer got {image[0]}x{image[1]} pixels, too"
                f" few for its {window[0]}x{window[1]} window with padding {padding} and dilation"
                f" {dilation}; use larger images, or override the model's stem or patch size"
            )
