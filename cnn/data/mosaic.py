"""Four pictures in one, so that objects are seen small and beside others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn.data.boxes import BoxRules
from cnn.data.contract import Example, Source
from cnn.data.fast_resize import fast_resized
from cnn.data.geometry import map_boxes
from cnn.data.moves import Crop, Move, Resize, geometry_of, move
from cnn.data.transforms import longer_side, to_channels

_GRAY = 114
"""The level of what no picture covers, as its authors have it."""


class Mosaic(NamedTuple):
    """A square of twice the side, cut by a cross into four parts, a picture in each.

    Bochkovskiy et al. 2020, "YOLOv4: optimal speed and accuracy of object detection", section 3.3,
    as in the code of YOLOv5: the longer side of each picture is that of the model's images, and its
    corner lies at the middle of the cross.

    Attributes:
        rate: Probability of a mosaic in place of a picture.
        until_epoch: From this epoch on there are none; 0 means always.
        image_size: Half the side of the square, in pixels.
        channels: Of the pictures.
        interpolation: Of the pictures.
        rules: Of objects; of more than there is room for the largest stay.
    """

    rate: float
    until_epoch: int
    image_size: int
    channels: int
    interpolation: str
    rules: BoxRules

    def at(self, epoch: int) -> bool:
        """Whether there are mosaics in this epoch, counted from 0."""
        return not self.until_epoch or epoch < self.until_epoch

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> Example:
        """The example at `index`, alone or as the first of four, the others drawn."""
        if rng.random() >= self.rate:
            return source[index]
        others = rng.integers(len(source), size=3).tolist()
        side, size = 2 * self.image_size, self.image_size
        cross = tuple(rng.integers(size // 2, side - size // 2 + 1, size=2).tolist())
        canvas = np.full((side, side, self.channels), _GRAY, np.uint8)
        parts = [
            self._part(source[number], place, (cross[0], cross[1]), canvas)
            for place, number in enumerate((index, *others))
        ]
        every, classes = (
            np.concatenate([part[name] for part in parts]) for name in ("boxes", "box_labels")
        )
        areas = np.prod(every[:, 2:] - every[:, :2], axis=1)
        kept = np.sort(np.argsort(-areas, kind="stable")[: self.rules.max_boxes])
        made: Example = {
            "image": canvas,
            "label": 0,
            "boxes": every[kept],
            "box_labels": classes[kept],
        }
        if "proposals" in parts[0]:
            proposals = [part["proposals"] for part in parts]
            # The surest of each picture first, then the second of each ...
            ranks = np.concatenate([np.arange(len(own)) for own in proposals])
            made["proposals"] = np.concatenate(proposals)[np.argsort(ranks, kind="stable")]
        return made

    def _part(
        self,
        example: Example,
        place: int,
        cross: tuple[int, int],
        canvas: UInt8[np.ndarray, "side side channels"],
    ) -> dict[str, np.ndarray]:
        """Puts a picture into the canvas; returns its boxes, labels and proposals there."""
        image, side = example["image"], len(canvas)
        shape = image.shape[:2]
        height, width = longer_side(shape[0], shape[1], self.image_size)
        below, right = divmod(place, 2)
        top = cross[0] if below else cross[0] - height
        left = cross[1] if right else cross[1] - width
        whole = Resize(height, width, self.interpolation, fast_resized)
        moves: tuple[Move, ...] = (whole, Crop(-top, -left, side, side))
        rows = slice(max(top, 0), min(top + height, side))
        columns = slice(max(left, 0), min(left + width, side))
        canvas[rows, columns] = move(to_channels(image, self.channels), moves)[rows, columns]
        assert "boxes" in example and "box_labels" in example
        steps = geometry_of(shape, moves)
        found, stays = map_boxes(steps, example["boxes"], keep_share=self.rules.min_visible)
        part = {"boxes": found[stays], "box_labels": example["box_labels"][stays]}
        if "proposals" in example:
            found, stays = map_boxes(steps, example["proposals"], keep_share=self.rules.min_visible)
            part["proposals"] = found[stays]
        return part
