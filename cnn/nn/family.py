"""What a family's file exports besides its layers: features of images, and where it comes from."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from jaxtyping import Array, Float

from cnn import errors

T = TypeVar("T")


class Features(NamedTuple):
    """What a backbone makes of images, for heads of any task; what a head does not read is free.

    Attributes:
        maps: The last feature map at each stride, by the stride in pixels of the image.
        pooled: One vector an image.
    """

    maps: dict[int, Float[Array, "batch map_height map_width map_channels"]]
    pooled: Float[Array, "batch features"]


class Source(NamedTuple):
    """Where an architecture comes from, and the images and classes that its paper used.

    Attributes:
        paper: Authors and title.
        year: Of the paper.
        image_size: Height and width in pixels.
        channels: Of the images.
        num_classes: Of the data set.
    """

    paper: str
    year: int
    image_size: int = 224
    channels: int = 3
    num_classes: int = 1000


def choose(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table that a field names.

    Raises:
        UserError: If it has none; the message names the nearest.
    """
    if name not in table:
        raise errors.unknown(kind, name, table)
    return table[name]
