"""Faster R-CNN and Mask R-CNN on a feature pyramid.

Ren et al. 2015, "Faster R-CNN: towards real-time object detection with region proposal networks";
He et al. 2017, "Mask R-CNN"; Lin et al. 2017, "Feature pyramid networks for object detection",
section 4.2, for the pyramid's maps and anchors.

A first stage proposes boxes, a second says what is in each and moves it; with `mask_width` a third
head says which part of the box the object is. Differs from the papers as torchvision does: both
stages learn together, and Mask R-CNN's RoIAlign is off by half a pixel.

Losses are of each image by itself: `proposal_class`, `proposal_box`, `class`, `box` and, with
masks, `mask`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.detectors import proposals as first
from cnn.detectors import regions as second
from cnn.detectors.anchors import grid_anchors
from cnn.detectors.contract import Detections, Images, Objects, size_of
from cnn.detectors.matching import in_pixels
from cnn.detectors.pyramid import Pyramid
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_FASTER = "Ren et al., Faster R-CNN: towards real-time object detection with region proposals"
_MASK = "He et al., Mask R-CNN"
_RATIOS = (0.5, 1.0, 2.0)
_BOX_GRID, _MASK_GRID = 7, 14

_SMALL: dict[str, Any] = {
    "backbone": "resnet_test",
    "levels": (1, 2),
    "width": 8,
    "anchor_sizes": (8, 16, 32),
    "hidden_size": 16,
    "proposals": 20,
    "train_proposals": 30,
    "rpn_samples": 32,
    "box_samples": 16,
    "max_detections": 10,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "fasterrcnn_resnet50_fpn": {"backbone": "resnet50"},
    "maskrcnn_resnet50_fpn": {"backbone": "resnet50", "mask_width": 256},
    "fasterrcnn_test": _SMALL,
    "maskrcnn_test": {**_SMALL, "mask_width": 4},
}

FROZEN_NORM = True
"""torchvision's parameter counts are without those of the backbone's norms: `frozen_norm`."""


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images and classes: COCO's numbers from 1 on."""
    paper = (_MASK, 2017) if "mask_width" in VARIANTS[name] else (_FASTER, 2015)
    if name.endswith("_test"):
        return Source(*paper, image_size=32, num_classes=3)
    return Source(*paper, image_size=800, num_classes=90)


class Outputs(NamedTuple):
    """The raw outputs of both stages.

    Attributes:
        anchors: What the first says of the anchors.
        proposals: Made of them.
        boxes: What the second says of the proposals.
    """

    anchors: first.Outputs
    proposals: first.Proposals
    boxes: second.BoxOutputs


class Detector(linen.Module):
    """A `cnn.detectors.contract.Detector`.

    Attributes:
        backbone: Images -> `Features`.
        num_classes: Kinds of objects.
        sync: Of batch norm, which only the backbone has.
        levels: Strides of the backbone's maps that the pyramid reads.
        width: Channels of the pyramid.
        anchor_sizes: In pixels, for each map of the pyramid: the `levels` and one more.
        proposals: Boxes that the second stage looks at, of each image.
        train_proposals: Those that it draws from in training.
        rpn_samples: Anchors of an image that the first stage learns from.
        box_samples: Boxes of an image that the second stage learns from.
        hidden_size: Of the second stage's dense layers.
        mask_width: Channels of the head of masks; 0 is no such head.
        score_threshold: Below it nothing is a detection.
        nms_threshold: IoU above which of two detections of a class the surer stays.
        max_detections: For each image.
        suppression: Of boxes that overlap a surer one of their class: `greedy` drops them by
            `nms_threshold`, `linear` and `gaussian` lower their scores, as in `ops.soft_nms`.
        dtype: Of the computation.
    """

    backbone: Callable[..., Features]
    num_classes: int
    sync: nn.Sync = nn.WHOLE_BATCH
    levels: tuple[int, ...] = (4, 8, 16, 32)
    width: int = 256
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    proposals: int = 1000
    train_proposals: int = 2000
    rpn_samples: int = 256
    box_samples: int = 512
    hidden_size: int = 1024
    mask_width: int = 0
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100
    suppression: str = "greedy"
    dtype: DTypeLike = "float32"

    def setup(self) -> None:
        """Makes the parts."""
        self.pyramid = Pyramid(self.levels, self.width, dtype=self.dtype)
        self.rpn = first.Head(len(_RATIOS), self.width, self.dtype)
        with_background = self.num_classes + 1
        self.box_head = second.BoxHead(with_background, self.hidden_size, self.dtype)
        if self.mask_width:
            self.mask_head = second.MaskHead(with_background, self.mask_width, self.dtype)

    def __call__(self, images: Images, *, train: bool = False) -> Outputs:
        """The raw outputs of both stages."""
        image, maps = size_of(images), self._maps(images, train=train)
        proposed = self.rpn(maps)
        boxes = first.propose(proposed, self.anchors(proposed, image), image, count=self.proposals)
        if self.mask_width and self.is_initializing():
            self.mask_head(self._pool(maps, boxes.boxes[:, :1], _MASK_GRID))
        return Outputs(proposed, boxes, self.box_head(self._pool(maps, boxes.boxes, _BOX_GRID)))

    def losses(
        self, images: Images, objects: Objects, *, train: bool = True
    ) -> dict[str, Float[Array, " batch"]]:
        """The parts of each image's loss.

        Raises:
            UserError: If masks are to be learnt and there are none.
        """
        if self.mask_width and objects.masks is None:
            raise UserError("this network learns masks, but the data have boxes only; mask_width=0")
        image, maps = size_of(images), self._maps(images, train=train)
        key = self.make_rng("sample") if train else jax.random.key(0)
        keys = [jax.random.split(part, len(images)) for part in jax.random.split(key)]
        targets, proposed = in_pixels(objects, image), self.rpn(maps)
        anchors = self.anchors(proposed, image)
        parts = first.losses(proposed, anchors, targets, keys[0], num_samples=self.rpn_samples)
        boxes = first.propose(proposed, anchors, image, count=self.train_proposals)
        chosen = second.sample(boxes, targets, keys[1], count=self.box_samples)
        outputs = self.box_head(self._pool(maps, chosen.boxes, _BOX_GRID))
        parts |= second.losses(outputs, chosen, targets)
        if self.mask_width and objects.masks is not None:
            positive = jax.tree.map(lambda x: x[:, : second.num_positive(self.box_samples)], chosen)
            logits = self.mask_head(self._pool(maps, positive.boxes, _MASK_GRID))
            parts["mask"] = second.mask_loss(logits, positive, objects.masks)
        return parts

    def detect(self, images: Images) -> Detections:
        """What is in the images, after non-maximum suppression."""
        image, maps = size_of(images), self._maps(images, train=False)
        proposed = self.rpn(maps)
        boxes = first.propose(proposed, self.anchors(proposed, image), image, count=self.proposals)
        found = second.detect(
            self.box_head(self._pool(maps, boxes.boxes, _BOX_GRID)),
            boxes,
            image,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            max_detections=self.max_detections,
            suppression=self.suppression,
        )
        if not self.mask_width:
            return found
        unit = jnp.asarray((*image, *image), found.boxes.dtype).reshape(1, 1, 4)
        logits = self.mask_head(self._pool(maps, found.boxes * unit, _MASK_GRID))
        masks = jax.vmap(second.of_class)(logits, found.labels + 1)
        return found._replace(masks=jax.nn.sigmoid(masks))

    def anchors(self, outputs: first.Outputs, image: tuple[int, int]) -> list[Float[Array, "_ 4"]]:
        """Of each map, in pixels of the image."""
        sizes = [(size,) for size in self.anchor_sizes]
        return grid_anchors(image, outputs.sizes, sizes=sizes, ratios=_RATIOS)

    def _maps(self, images: Images, *, train: bool) -> list[Float[Array, "batch _ _ features"]]:
        return self.pyramid(self.backbone(images, train=train))

    def _pool(
        self,
        maps: Sequence[Float[Array, "batch _ _ channels"]],
        boxes: Float[Array, "batch boxes 4"],
        size: int,
    ) -> Float[Array, "batch boxes {size} {size} channels"]:
        count = len(self.levels)
        return ops.pyramid_roi_align(maps[:count], boxes, strides=self.levels, size=size)
