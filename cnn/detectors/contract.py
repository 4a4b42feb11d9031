"""What every detector is: a linen module with losses and detections of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

Images = Float[Array, "batch height width channels"]


def size_of(images: Images) -> tuple[int, int]:
    """Height and width, in pixels."""
    return images.shape[1], images.shape[2]


class Objects(NamedTuple):
    """The true objects of a batch, padded to as many for each image.

    Attributes:
        boxes: (y0, x0, y1, x1) as shares of height and width.
        labels: Of their classes, from 0 on; -1 is padding, whose boxes and masks mean nothing.
        masks: Of each object the pixels of the image that it has, in [0, 1]; None where unknown.
    """

    boxes: Float[Array, "batch objects 4"]
    labels: Int[Array, "batch objects"]
    masks: Float[Array, "batch objects height width"] | None = None


class Detections(NamedTuple):
    """What was found in a batch, the surest first, padded to as many for each image.

    Attributes:
        boxes: (y0, x0, y1, x1) as shares of height and width, inside the image.
        scores: In [0, 1]; 0 for padding.
        labels: Of their classes, from 0 on; -1 is padding.
        masks: Of each object the probability that a point of its box belongs to it, on a grid over
            the box; None where the network has none.
    """

    boxes: Float[Array, "batch detections 4"]
    scores: Float[Array, "batch detections"]
    labels: Int[Array, "batch detections"]
    masks: Float[Array, "batch detections grid_height grid_width"] | None = None


@runtime_checkable
class Detector(Protocol):
    """A linen module whose methods are called by `module.apply(variables, ..., method=...)`.

    Shapes are static: how many objects, proposals and detections there are is a field or the shape
    of an argument. `losses` in training draws from the rng `sample` where a detector samples.

    A detector that makes no proposals has `reads_proposals = True`, and its methods take, by name,
    `proposals` [batch, proposals, 4], (y0, x0, y1, x1) as shares; one without area is padding.
    """

    def __call__(self, images: Images, *, train: bool = False) -> Any:
        """The raw outputs of the heads, as the paper has them; makes every parameter."""
        ...

    def losses(
        self, images: Images, objects: Objects, *, train: bool = True
    ) -> dict[str, Float[Array, " batch"]]:
        """Each part of the loss, for each image; an image without objects is legal."""
        ...

    def detect(self, images: Images) -> Detections:
        """What is in the images, after non-maximum suppression."""
        ...
