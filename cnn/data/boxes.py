"""Boxes of objects, moved with their picture and padded to as many for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from cnn.data.contract import NO_OBJECT, Example
from cnn.data.geometry import Shape, map_boxes
from cnn.data.moves import Move, geometry_of
from cnn.errors import UserError


class Objects(NamedTuple):
    """The objects of a picture, padded: those of class -1 are none."""

    boxes: Float32[np.ndarray, "max_boxes 4"]
    labels: Int32[np.ndarray, " max_boxes"]


class BoxRules(NamedTuple):
    """What becomes of boxes; the fields are the arguments of `cnn.data.make_boxes`."""

    max_boxes: int = 100
    min_visible: float = 0.25
    max_proposals: int = 2000

    def moved(self, example: Example, moves: Sequence[Move]) -> Objects:
        """The objects of an example after all steps.

        Raises:
            UserError: If more are left than there is room for.
        """
        shape = example["image"].shape[:2]
        assert "boxes" in example and "box_labels" in example
        found, stays = map_boxes(
            geometry_of(shape, moves), example["boxes"], keep_share=self.min_visible
        )
        count = int(stays.sum())
        if count > self.max_boxes:
            raise UserError(
                f"a picture has {count} objects, more than boxes.max_boxes={self.max_boxes}; "
                f"set boxes.max_boxes={count} or more"
            )
        boxes = np.zeros((self.max_boxes, 4), np.float32)
        labels = np.full(self.max_boxes, NO_OBJECT, np.int32)
        boxes[:count], labels[:count] = found[stays], example["box_labels"][stays]
        return Objects(boxes, labels)

    def moved_proposals(
        self, example: Example, moves: Sequence[Move]
    ) -> Float32[np.ndarray, "max_proposals 4"]:
        """The proposals of an example after all steps; padding is zeros, which have no area.

        Of more than there is room for the surest stay.
        """
        assert "proposals" in example
        steps = geometry_of(example["image"].shape[:2], moves)
        found, stays = map_boxes(steps, example["proposals"], keep_share=self.min_visible)
        kept = found[stays][: self.max_proposals]
        padding = np.zeros((self.max_proposals - len(kept), 4), np.float32)
        return np.concatenate([kept, padding])


def seen_px(shape: Shape, moves: Sequence[Move]) -> Float32[np.ndarray, " 2"]:
    """Height and width, in pixels of the stored picture, of what is seen of it after all steps.

    A letterbox of a picture of 300 x 400 shows 400 x 400. Boxes times these are in the picture's
    pixels, in which sizes of objects are counted.

    Args:
        shape: Of the stored picture.
        moves: Without a turn.
    """
    size, scale = shape, np.ones(2)
    for step in geometry_of(shape, moves):
        size = step.size
        scale *= np.abs(np.diag(step.back))
    return (np.array(size) * scale).astype(np.float32)
