"""SSD, Liu et al. 2016, "SSD: Single shot multibox detector".

Section 2: six maps of VGG-16 and of convolutions after it, a 3x3 convolution on each for classes
and boxes of its default boxes, figure 2 for images of 300x300. Differs from the paper as
torchvision does: the scales of default boxes are those of the authors' code for COCO.

Losses are of each image by itself, divided by its number of default boxes on objects; the authors
and torchvision divide by that of the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax.nn.initializers import constant, glorot_uniform
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cnn import nn, ops
from cnn.detectors import losses as box_losses
from cnn.detectors.anchors import DefaultBoxes
from cnn.detectors.contract import Detections, Images, Objects, size_of
from cnn.detectors.matching import in_pixels, match_each
from cnn.detectors.selection import above, detections_of, take
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_PAPER = "Liu et al., SSD: Single shot multibox detector"
_WEIGHTS: ops.boxes.Weights = (10.0, 10.0, 5.0, 5.0)
_IOU = 0.5
_NEGATIVES = 3
_BETA = 1.0
_init = glorot_uniform()

Map = Float[Array, "batch _ _ _"]

VARIANTS: dict[str, dict[str, Any]] = {
    "ssd300_vgg16": {"backbone": "vgg16", "ceil_stages": (2,)},
    "ssd_test": {
        "backbone": "vgg_test",
        "levels": (1, 2),
        "width": 8,
        "extra_widths": (8, 4),
        "extra_strides": (2, 1),
        "scales": (0.1, 0.3, 0.5, 0.7, 0.9),
        "ratios": (2, 3, 3, 2),
        "strides": (),
        "candidates": 20,
        "max_detections": 10,
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and torchvision's images and classes: COCO's numbers from 1 on."""
    if name.endswith("_test"):
        return Source(_PAPER, 2016, image_size=32, num_classes=3)
    return Source(_PAPER, 2016, image_size=300, num_classes=90)


class Outputs(NamedTuple):
    """What the heads say of each default box, those of the finest map first.

    Attributes:
        logits: Of each class, the background first.
        deltas: Of x, y, width and height.
        sizes: Height and width of each map.
    """

    logits: Float[Array, "batch anchors classes"]
    deltas: Float[Array, "batch anchors 4"]
    sizes: tuple[tuple[int, int], ...]


class Extras(linen.Module):
    """The maps that classes and boxes are read from.

    The first is the backbone's at unit length with a learnt scale of each channel (Liu et al. 2016,
    "ParseNet", section 3.3); after the second come VGG's dense layers as convolutions, and more.

    Attributes:
        levels: Strides of the two maps of the backbone.
        width: Channels of what were the dense layers.
        widths: Of each later map.
        strides: Of each later map, to the one before; at 1 the map loses its border.
        dtype: Of the computation.
    """

    levels: tuple[int, int]
    width: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DTypeLike

    @linen.compact
    def __call__(self, features: Features) -> list[Map]:
        """The maps, the finest first.

        Raises:
            UserError: If the backbone has no such maps, or the images are too small.
        """
        if not set(self.levels) <= features.maps.keys():
            known = ", ".join(map(str, sorted(features.maps)))
            raise UserError(f"levels is {self.levels}, but the backbone's strides are {known}")
        fine, x = (features.maps[stride] for stride in self.levels)
        scale = self.param("scale", constant(20.0), fine.shape[-1:], jnp.float32)
        squares = jnp.sum(jnp.square(fine), axis=-1, keepdims=True)
        # A root has no derivative at 0, where ReLU leaves whole pixels.
        length = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        maps = [fine / length * scale.astype(fine.dtype).reshape(1, 1, 1, -1)]
        conv = functools.partial(nn.Conv, use_bias=True, kernel_init=_init, dtype=self.dtype)
        x = ops.max_pool(x, 3, stride=1, padding=1)
        x = linen.relu(conv(self.width, 3, dilation=6, name="dense0")(x))
        maps.append(linen.relu(conv(self.width, 1, name="dense1")(x)))
        for index, width, stride in nn.stages(self.widths, self.strides):
            if stride == 1 and min(maps[-1].shape[1:3]) < 3:
                raise UserError(
                    "the images are too small for this SSD: its last maps have no pixel"
                )
            x = linen.relu(conv(width // 2, 1, name=f"reduce{index}")(maps[-1]))
            padding = 0 if stride == 1 else 1
            layer = conv(width, 3, stride=stride, padding=padding, name=f"conv{index}")
            maps.append(linen.relu(layer(x)))
        return maps


class Head(linen.Module):
    """For each map a 3x3 convolution for classes and one for boxes.

    Attributes:
        num_classes: With the background.
        num_anchors: Of a pixel of each map.
        dtype: Of the computation; outputs are float32 or wider.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    dtype: DTypeLike

    @linen.compact
    def __call__(self, maps: Sequence[Map]) -> Outputs:
        """What each default box is."""
        if len(maps) != len(self.num_anchors):
            raise UserError(f"ratios has {len(self.num_anchors)} entries for {len(maps)} maps")
        wide = jnp.promote_types(self.dtype, jnp.float32)

        def listed(name: str, size: int) -> Float[Array, "batch anchors _"]:
            rows = []
            for index, (x, count) in enumerate(zip(maps, self.num_anchors, strict=True)):
                conv = nn.Conv(
                    count * size,
                    3,
                    use_bias=True,
                    kernel_init=_init,
                    dtype=self.dtype,
                    name=f"{name}{index}",
                )
                rows.append(conv(x).reshape(len(x), -1, size))
            return jnp.concatenate(rows, axis=1).astype(wide)

        sizes = tuple((x.shape[1], x.shape[2]) for x in maps)
        return Outputs(listed("map_logits", self.num_classes), listed("map_deltas", 4), sizes)


class Detector(linen.Module):
    """A `cnn.detectors.contract.Detector`.

    Attributes:
        backbone: Images -> `Features`.
        num_classes: Kinds of objects.
        sync: Of batch norm, which only a backbone has.
        levels: Strides of the two maps of the backbone that are read.
        width: Channels of the convolutions that were VGG's dense layers.
        extra_widths: Channels of the maps after those.
        extra_strides: Of those maps, each to the one before; at 1 it loses its border.
        scales: Of the default boxes of each map, as shares of the image, and one more.
        ratios: Of the default boxes of each map: 2, or 3 for both 2 and 3, and the inverse of each.
        strides: Pixels between the default boxes of each map; () takes them from the maps' sizes.
        score_threshold: Below it nothing is a detection.
        nms_threshold: IoU above which of two detections of a class the surer stays.
        candidates: The surest of each class that are looked at.
        max_detections: For each image.
        suppression: Of boxes that overlap a surer one of their class: `greedy` drops them by
            `nms_threshold`, `linear` and `gaussian` lower their scores, as in `ops.soft_nms`.
        dtype: Of the computation.
    """

    backbone: Callable[..., Features]
    num_classes: int
    sync: nn.Sync = nn.WHOLE_BATCH
    levels: tuple[int, int] = (8, 16)
    width: int = 1024
    extra_widths: tuple[int, ...] = (512, 256, 256, 256)
    extra_strides: tuple[int, ...] = (2, 2, 1, 1)
    scales: tuple[float, ...] = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    ratios: tuple[int, ...] = (2, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (8, 16, 32, 64, 100, 300)
    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    candidates: int = 400
    max_detections: int = 200
    suppression: str = "greedy"
    dtype: DTypeLike = "float32"

    def setup(self) -> None:
        """Makes the parts."""
        if len(self.scales) != len(self.ratios) + 1:
            raise UserError(
                f"scales must have one entry more than ratios, got {len(self.scales)} for"
                f" {len(self.ratios)} maps"
            )
        self.extras = Extras(
            self.levels, self.width, self.extra_widths, self.extra_strides, self.dtype
        )
        self.head = Head(self.num_classes + 1, self._default_boxes().per_pixel(), self.dtype)

    def __call__(self, images: Images, *, train: bool = False) -> Outputs:
        """The raw outputs of the heads."""
        return self.head(self.extras(self.backbone(images, train=train)))

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
        targets, anchors = in_pixels(objects, image), self.anchors(outputs, image)
        each = jax.vmap(_losses_of_image, in_axes=(0, 0, 0, 0, None))
        return each(outputs.logits, outputs.deltas, targets.boxes, targets.labels, anchors)

    def detections_of(self, outputs: Outputs, image: tuple[int, int]) -> Detections:
        """As `detect`, of outputs for images of that height and width."""
        anchors = jnp.broadcast_to(self.anchors(outputs, image)[None], outputs.deltas.shape)
        boxes = ops.boxes.clip(ops.boxes.decode(outputs.deltas, anchors, _WEIGHTS), image)
        scores = above(jax.nn.softmax(outputs.logits)[..., 1:], self.score_threshold)
        by_class = jnp.moveaxis(scores, 2, 1)
        best, index = jax.lax.top_k(by_class, min(self.candidates, by_class.shape[2]))
        labels = jnp.broadcast_to(jnp.arange(self.num_classes)[None, :, None], index.shape)
        batch = len(boxes)
        return detections_of(
            take(boxes, index.reshape(batch, -1)),
            best.reshape(batch, -1),
            labels.reshape(batch, -1),
            image,
            iou_threshold=self.nms_threshold,
            max_detections=self.max_detections,
            suppression=self.suppression,
        )

    def anchors(self, outputs: Outputs, image: tuple[int, int]) -> Float[Array, "anchors 4"]:
        """The default boxes, in pixels of the image."""
        return self._default_boxes().place(image, outputs.sizes)

    def _default_boxes(self) -> DefaultBoxes:
        ratios = [range(2, largest + 1) for largest in self.ratios]
        return DefaultBoxes(self.scales, ratios, self.strides)


def _losses_of_image(
    logits: Float[Array, "anchors classes"],
    deltas: Float[Array, "anchors 4"],
    boxes: Float[Array, "objects 4"],
    labels: Int[Array, " objects"],
    anchors: Float[Array, "anchors 4"],
) -> dict[str, Float[Array, ""]]:
    matches = match_each(ops.boxes.iou(boxes, anchors), labels >= 0, threshold=_IOU)
    on_object, index = matches >= 0, jnp.maximum(matches, 0)
    count = jnp.sum(on_object)
    wanted = jnp.where(on_object, labels[index] + 1, 0)
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
    # Only the background that is hardest counts, three to one: section 2.2, hard negative mining.
    hardness = jnp.where(on_object, -jnp.inf, jax.lax.stop_gradient(entropy))
    rank = jnp.argsort(jnp.argsort(-hardness))
    chosen = on_object | (rank < _NEGATIVES * count)
    targets = box_losses.safe_targets(boxes[index], anchors, on_object, _WEIGHTS)
    divisor = jnp.maximum(count, 1).astype(logits.dtype)
    return {
        "class": jnp.sum(jnp.where(chosen, entropy, 0)) / divisor,
        "box": box_losses.box_loss(deltas, targets, on_object, beta=_BETA) / divisor,
    }
