"""RetinaNet, Lin et al. 2017, "Focal loss for dense object detection".

Section 4: one stage, on a feature pyramid: each pixel of each map has nine anchors, and for each of
them a probability of each class and the deltas of a box. Differs from the paper as torchvision
does: P6 reads P5 instead of C5, the loss of boxes is L1, and an object's best anchor is its own
however little they overlap.

Losses are of each image by itself, `class` over its anchors and `box` over those on objects, both
divided by the number of those.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax.nn.initializers import constant, normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cnn import nn, ops
from cnn.detectors import losses as box_losses
from cnn.detectors.anchors import grid_anchors, parts_of
from cnn.detectors.contract import Detections, Images, Objects, size_of
from cnn.detectors.matching import BETWEEN, in_pixels, match
from cnn.detectors.pyramid import Pyramid
from cnn.detectors.selection import above, detections_of, take
from cnn.nn.family import Features, Source

_PAPER = "Lin et al., Focal loss for dense object detection"
_RATIOS = (0.5, 1.0, 2.0)
_OCTAVES = 3
_PRIOR = 0.01
_ALPHA, _GAMMA = 0.25, 2.0
_HIGH, _LOW = 0.5, 0.4

VARIANTS: dict[str, dict[str, Any]] = {
    "retinanet_resnet50_fpn": {"backbone": "resnet50"},
    "retinanet_test": {
        "backbone": "resnet_test",
        "levels": (1, 2),
        "width": 8,
        "num_convs": 1,
        "anchor_sizes": (4, 8, 16, 32),
        "max_detections": 20,
    },
}

FROZEN_NORM = True
"""torchvision's parameter counts are without those of the backbone's norms: `frozen_norm`."""


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images and classes: COCO's numbers."""
    if name.endswith("_test"):
        return Source(_PAPER, 2017, image_size=32, num_classes=3)
    return Source(_PAPER, 2017, image_size=800, num_classes=91)


class Outputs(NamedTuple):
    """What the heads say of each anchor, those of the finest map first.

    Attributes:
        logits: Of each class by itself.
        deltas: Of x, y, width and height.
        sizes: Height and width of each map.
    """

    logits: Float[Array, "batch anchors classes"]
    deltas: Float[Array, "batch anchors 4"]
    sizes: tuple[tuple[int, int], ...]


class Head(linen.Module):
    """3x3 convolutions for classes and as many for boxes, the same for all maps.

    Attributes:
        num_classes: How many logits an anchor has.
        num_anchors: Of a pixel.
        num_convs: Before the last one, each with ReLU.
        width: Channels of those.
        dtype: Of the computation; outputs are float32 or wider.
    """

    num_classes: int
    num_anchors: int
    num_convs: int
    width: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, maps: list[Float[Array, "batch _ _ channels"]]) -> Outputs:
        """What each anchor is."""
        prior = constant(-math.log((1 - _PRIOR) / _PRIOR))
        count = self.num_anchors
        logits = self._tower(maps, "class_conv", "logits", count * self.num_classes, prior)
        deltas = self._tower(maps, "box_conv", "deltas", count * 4, constant(0.0))
        wide = jnp.promote_types(self.dtype, jnp.float32)

        def listed(outputs: list[Array], size: int) -> Float[Array, "batch anchors _"]:
            rows = [x.reshape(len(x), -1, size) for x in outputs]
            return jnp.concatenate(rows, axis=1).astype(wide)

        sizes = tuple((x.shape[1], x.shape[2]) for x in maps)
        return Outputs(listed(logits, self.num_classes), listed(deltas, 4), sizes)

    def _tower(
        self, maps: list[Array], conv: str, last: str, features: int, bias: Any
    ) -> list[Float[Array, "batch _ _ features"]]:
        make = functools.partial(
            nn.Conv, kernel_size=3, use_bias=True, kernel_init=normal(0.01), dtype=self.dtype
        )
        convs = [make(self.width, name=f"{conv}{index}") for index in range(self.num_convs)]
        final = make(features, bias_init=bias, name=last)
        results = []
        for x in maps:
            for layer in convs:
                x = linen.relu(layer(x))
            results.append(final(x))
        return results


class Detector(linen.Module):
    """A `cnn.detectors.contract.Detector`.

    Attributes:
        backbone: Images -> `Features`.
        num_classes: Kinds of objects.
        sync: Of batch norm, which only the backbone has.
        levels: Strides of the backbone's maps that the pyramid reads.
        width: Channels of the pyramid and of the heads.
        num_convs: Of each head, before the last.
        anchor_sizes: In pixels, for each map of the pyramid: the `levels` and two more; each comes
            with two between it and its double.
        score_threshold: Below it nothing is a detection.
        nms_threshold: IoU above which of two detections of a class the surer stays.
        candidates: The surest of each map that are looked at.
        max_detections: For each image.
        suppression: Of boxes that overlap a surer one of their class: `greedy` drops them by
            `nms_threshold`, `linear` and `gaussian` lower their scores, as in `ops.soft_nms`.
        dtype: Of the computation.
    """

    backbone: Callable[..., Features]
    num_classes: int
    sync: nn.Sync = nn.WHOLE_BATCH
    levels: tuple[int, ...] = (8, 16, 32)
    width: int = 256
    num_convs: int = 4
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    candidates: int = 1000
    max_detections: int = 300
    suppression: str = "greedy"
    dtype: DTypeLike = "float32"

    def setup(self) -> None:
        """Makes the parts."""
        anchors = _OCTAVES * len(_RATIOS)
        self.pyramid = Pyramid(self.levels, self.width, "convolutions", dtype=self.dtype)
        self.head = Head(self.num_classes, anchors, self.num_convs, self.width, self.dtype)

    def __call__(self, images: Images, *, train: bool = False) -> Outputs:
        """The raw outputs of the heads."""
        return self.head(self.pyramid(self.backbone(images, train=train)))

    def losses(
        self, images: Images, objects: Objects, *, train: bool = True
    ) -> dict[str, Float[Array, " batch"]]:
        """`class` and `box` of each image."""
        return self.losses_of(self(images, train=train), objects, size_of(images))

    def detect(self, images: Images) -> Detections:
        """What is in the images, after non-maximum suppression."""
        return self.detections_of(self(images), size_of(images))

    def losses_of(
        self, outputs: Outputs, objects: Objects, image: tuple[int, int]
    ) -> dict[str, Float[Array, " batch"]]:
        """As `losses`, of outputs for images of that height and width."""
        targets = in_pixels(objects, image)
        anchors = jnp.concatenate(self.anchors(outputs, image))
        each = jax.vmap(_losses_of_image, in_axes=(0, 0, 0, 0, None))
        return each(outputs.logits, outputs.deltas, targets.boxes, targets.labels, anchors)

    def detections_of(self, outputs: Outputs, image: tuple[int, int]) -> Detections:
        """As `detect`, of outputs for images of that height and width."""
        anchors = self.anchors(outputs, image)
        found = [
            self._candidates(outputs.logits[:, part], outputs.deltas[:, part], of_map, image)
            for part, of_map in zip(parts_of(anchors), anchors, strict=True)
        ]
        boxes, scores, labels = (
            jnp.concatenate(parts, axis=1) for parts in zip(*found, strict=True)
        )
        return detections_of(
            boxes,
            scores,
            labels,
            image,
            iou_threshold=self.nms_threshold,
            max_detections=self.max_detections,
            suppression=self.suppression,
        )

    def anchors(self, outputs: Outputs, image: tuple[int, int]) -> list[Float[Array, "_ 4"]]:
        """Of each map, in pixels of the image."""
        sizes = [
            [int(size * 2 ** (octave / _OCTAVES)) for octave in range(_OCTAVES)]
            for size in self.anchor_sizes
        ]
        return grid_anchors(image, outputs.sizes, sizes=sizes, ratios=_RATIOS)

    def _candidates(
        self,
        logits: Float[Array, "batch anchors classes"],
        deltas: Float[Array, "batch anchors 4"],
        anchors: Float[Array, "anchors 4"],
        image: tuple[int, int],
    ) -> tuple[
        Float[Array, "batch found 4"], Float[Array, "batch found"], Int[Array, "batch found"]
    ]:
        """Boxes, scores and labels of a map's surest pairs of an anchor and a class."""
        scores = above(jax.nn.sigmoid(logits), self.score_threshold).reshape(len(logits), -1)
        scores, index = jax.lax.top_k(scores, min(self.candidates, scores.shape[1]))
        anchor = index // self.num_classes
        boxes = ops.boxes.decode(take(deltas, anchor), anchors[anchor])
        return ops.boxes.clip(boxes, image), scores, index % self.num_classes


def _losses_of_image(
    logits: Float[Array, "anchors classes"],
    deltas: Float[Array, "anchors 4"],
    boxes: Float[Array, "objects 4"],
    labels: Int[Array, " objects"],
    anchors: Float[Array, "anchors 4"],
) -> dict[str, Float[Array, ""]]:
    overlaps = ops.boxes.iou(boxes, anchors)
    matches = match(overlaps, labels >= 0, high=_HIGH, low=_LOW, keep_best=True)
    on_object, index = matches >= 0, jnp.maximum(matches, 0)
    count = jnp.maximum(jnp.sum(on_object), 1).astype(logits.dtype)
    wanted = jnp.where(on_object, labels[index], -1)
    # Of -1 all are 0.
    classes = jax.nn.one_hot(wanted, logits.shape[-1], dtype=logits.dtype)
    focal = optax.sigmoid_focal_loss(logits, classes, alpha=_ALPHA, gamma=_GAMMA)
    targets = box_losses.safe_targets(boxes[index], anchors, on_object, ops.boxes.EVEN)
    return {
        "class": jnp.sum(jnp.where((matches == BETWEEN)[:, None], 0, focal)) / count,
        "box": box_losses.box_loss(deltas, targets, on_object) / count,
    }
