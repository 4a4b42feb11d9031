"""What a family's file exports besides its layers: features of images, and where it comes from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from jaxtyping import Array, Float

from cnn import errors

T = TypeVar("T")


class Features(NamedTuple):
    """What a backbone makes of images, for heads of any task; what a head does not read is free.

    Attributes:
        maps: The last feature map at each stride, by the stride in pixels of the image; none where
            a network has no maps.
        pooled: One vector an image.
        auxiliary: Maps on the way for auxiliary classifiers, in order; none where a network has
            no such classifiers.
    """

    maps: dict[int, Float[Array, "batch map_height map_width map_channels"]]
    pooled: Float[Array, "batch features"]
    auxiliary: tuple[Float[Array, "batch _ _ _"], ...] = ()


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


def stages(depths: Sequence[int], widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(index, depth, width) of each stage.

    Raises:
        UserError: If there are not as many depths as widths.
    """
    if len(depths) != len(widths):
        raise errors.UserError(
            f"depths {tuple(depths)} and widths {tuple(widths)} are of different numbers of stages;"
            " override both"
        )
    return [(index, *pair) for index, pair in enumerate(zip(depths, widths, strict=True))]


def choose(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table that a field names.

    Raises:
        UserError: If it has none; the message names the nearest.
    """
    if name not in table:
        raise errors.unknown(kind, name, table)
    return table[name]
