"""How a small map comes to the size of an image."""

from cnn.errors import UserError


def smallest_map(image_size: int, doublings: int) -> int:
    """The side of the map that comes to the image's size by so many doublings, in pixels.

    Raises:
        UserError: If there is none.
    """
    start, rest = divmod(image_size, 2**doublings)
    if rest or not start:
        raise UserError(
            f"{doublings} widths make images of a multiple of {2**doublings} pixels, not of"
            f" {image_size}; change model.image_size or model.widths"
        )
    return start
