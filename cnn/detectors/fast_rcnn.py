"""Fast R-CNN and R-CNN: what is in boxes that somebody else proposed.

Girshick 2015, "Fast R-CNN": the image is seen once, and each box is pooled from its maps. Girshick
et al. 2014, "Rich feature hierarchies for accurate object detection and semantic segmentation":
with `crop_size` each box is cut from the image, with some context, and seen by itself. The second
stage of `faster_rcnn` says what is in a box and moves it; on a pyramid of maps (Lin et al. 2017,
"Feature pyramid networks", section 5.2) the first is that network without its own proposals.

Differs from the papers: boxes are pooled and cut by RoIAlign (aligned where there is no pyramid),
and the dense layers begin as in torchvision. R-CNN's classes and boxes are learnt together with its
backbone, by the softmax and the smooth L1 loss, where the paper trains support vector machines and
a ridge regression afterwards; what is learnt from is drawn of each image by itself; and of a crop
the backbone's pooled features are seen.

Losses are of each image by itself: `class` and `box`. An image without objects teaches what is
background, one without proposals has no detections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.detectors import regions as second
from cnn.detectors.contract import Detections, Images, Objects, size_of
from cnn.detectors.matching import in_pixels
from cnn.detectors.proposals import Proposals
from cnn.detectors.pyramid import Pyramid
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_FAST = ("Girshick, Fast R-CNN", 2015)
_RCNN = ("Girshick et al., Rich feature hierarchies for accurate object detection", 2014)
_GRID = 7
_BETA = 1.0

Seen = Float[Array, "batch boxes grid grid features"]
"""What is seen of each box."""

_SMALL: dict[str, Any] = {"backbone": "resnet_test", "box_samples": 16, "max_detections": 10}
VARIANTS: dict[str, dict[str, Any]] = {
    "fast_rcnn_vgg16": {"backbone": "vgg16", "levels": (16,), "width": 0, "hidden_size": 4096},
    "fast_rcnn_resnet50": {"backbone": "resnet50"},
    "rcnn_resnet50": {
        "backbone": "resnet50",
        "crop_size": 224,
        "hidden_size": 0,
        "background_iou": 0.0,
    },
    "fast_rcnn_test": {**_SMALL, "levels": (1, 2), "width": 8, "hidden_size": 16},
    "rcnn_test": {
        **_SMALL,
        "crop_size": 16,
        "context_px": 1,
        "crops_at_once": 8,
        "hidden_size": 0,
        "background_iou": 0.0,
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and the classes of PASCAL VOC."""
    paper = _RCNN if "crop_size" in VARIANTS[name] else _FAST
    if name.endswith("_test"):
        return Source(*paper, image_size=32, num_classes=3)
    return Source(*paper, image_size=600, num_classes=20)


class Detector(linen.Module):
    """A `cnn.detectors.contract.Detector` that reads proposals.

    Attributes:
        backbone: Images -> `Features`.
        num_classes: Kinds of objects.
        sync: Of batch norm, which only the backbone has.
        crop_size: Of what is seen of each box, in pixels; 0 pools boxes from maps of the image.
        context_px: How much of it, at each side, lies around the box; 16 in the paper.
        crops_at_once: How many of an image are seen together outside training.
        levels: Strides of the backbone's maps that boxes are pooled from.
        width: Channels of the pyramid of these maps; 0 pools from the one map itself.
        hidden_size: Of the two dense layers on what is seen of a box; 0 is none.
        box_samples: Boxes of an image that are learnt from, at most a quarter of them on objects.
        background_iou: A box that overlaps every object by less is not learnt from.
        score_threshold: Below it nothing is a detection.
        nms_threshold: IoU above which of two detections of a class the surer stays.
        max_detections: For each image.
        suppression: As in `faster_rcnn.Detector`.
        dtype: Of the computation.
    """

    backbone: Callable[..., Features]
    num_classes: int
    sync: nn.Sync = nn.WHOLE_BATCH
    crop_size: int = 0
    context_px: int = 16
    crops_at_once: int = 64
    levels: tuple[int, ...] = (4, 8, 16, 32)
    width: int = 256
    hidden_size: int = 1024
    box_samples: int = 64
    background_iou: float = 0.1
    score_threshold: float = 0.05
    nms_threshold: float = 0.3
    max_detections: int = 100
    suppression: str = "greedy"
    dtype: DTypeLike = "float32"

    reads_proposals = True

    def setup(self) -> None:
        """Makes the parts."""
        if not self.crop_size and self.width:
            self.pyramid = Pyramid(self.levels, self.width, dtype=self.dtype)
        self.box_head = second.BoxHead(self.num_classes + 1, self.hidden_size, self.dtype)

    def __call__(
        self,
        images: Images,
        *,
        proposals: Float[Array, "batch proposals 4"] | None = None,
        train: bool = False,
    ) -> second.BoxOutputs:
        """What is said of each proposal; where there are none, of the whole image."""
        if proposals is None:
            proposals = jnp.tile(jnp.asarray([[[0.0, 0, 1, 1]]]), (len(images), 1, 1))
        return self._outputs(images, _in_pixels(proposals, images).boxes, train=train)

    def losses(
        self,
        images: Images,
        objects: Objects,
        *,
        proposals: Float[Array, "batch proposals 4"] | None = None,
        train: bool = True,
    ) -> dict[str, Float[Array, " batch"]]:
        """The parts of each image's loss.

        Raises:
            UserError: If there are no proposals.
        """
        key = self.make_rng("sample") if train else jax.random.key(0)
        targets = in_pixels(objects, size_of(images))
        chosen = second.sample(
            _in_pixels(proposals, images),
            targets,
            jax.random.split(key, len(images)),
            count=self.box_samples,
            background_iou=self.background_iou,
        )
        outputs = self._outputs(images, chosen.boxes, train=train)
        return second.losses(outputs, chosen, targets, beta=_BETA)

    def detect(
        self, images: Images, *, proposals: Float[Array, "batch proposals 4"] | None = None
    ) -> Detections:
        """What is in the images, after non-maximum suppression.

        Raises:
            UserError: If there are no proposals.
        """
        boxes = _in_pixels(proposals, images)
        return second.detect(
            self._outputs(images, boxes.boxes, train=False),
            boxes,
            size_of(images),
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            max_detections=self.max_detections,
            suppression=self.suppression,
        )

    def _outputs(
        self, images: Images, boxes: Float[Array, "batch boxes 4"], *, train: bool
    ) -> second.BoxOutputs:
        see = self._see_crops if self.crop_size else self._see_maps
        return self.box_head(see(images, boxes, train=train))

    def _see_maps(
        self, images: Images, boxes: Float[Array, "batch boxes 4"], *, train: bool
    ) -> Seen:
        features = self.backbone(images, train=train)
        if self.width:
            maps = self.pyramid(features)[: len(self.levels)]
            return ops.pyramid_roi_align(maps, boxes, strides=self.levels, size=_GRID)
        if len(self.levels) != 1 or self.levels[0] not in features.maps:
            known = ", ".join(map(str, sorted(features.maps)))
            raise UserError(
                f"without a pyramid (width=0) levels names one map, got {self.levels}; the "
                f"backbone's have strides {known}"
            )
        (stride,) = self.levels
        return ops.roi_align(
            features.maps[stride], boxes, size=_GRID, scale=1 / stride, aligned=True
        )

    def _see_crops(
        self, images: Images, boxes: Float[Array, "batch boxes 4"], *, train: bool
    ) -> Seen:
        """A vector of each box, as a grid of one cell."""
        around = _with_context(boxes, self.crop_size, self.context_px)
        if train or self.is_initializing():
            return self._see(self.backbone, images, around, train=train)
        # One after another: crops of all proposals at once would be as many images.
        backbone, variables = self.backbone.unbind()  # type: ignore[attr-defined]
        batch, count, at_once = *boxes.shape[:2], min(self.crops_at_once, boxes.shape[1])
        parts = -(-count // at_once)
        padded = jnp.pad(around, ((0, 0), (0, parts * at_once - count), (0, 0)))
        each = jnp.moveaxis(padded.reshape(batch, parts, at_once, 4), 1, 0)

        def see(images_of: Images, **options: bool) -> Features:
            return backbone.apply(variables, images_of, **options)

        cells = lax.map(lambda part: self._see(see, images, part, train=False), each)
        return jnp.moveaxis(cells, 0, 1).reshape(batch, parts * at_once, 1, 1, -1)[:, :count]

    def _see(
        self,
        backbone: Callable[..., Features],
        images: Images,
        boxes: Float[Array, "batch boxes 4"],
        *,
        train: bool,
    ) -> Seen:
        # Beyond the image is 0, the mean of what is normalised, as in the paper.
        crops = ops.roi_align(images, boxes, size=self.crop_size, aligned=True)
        pooled = backbone(crops.reshape(-1, *crops.shape[2:]), train=train).pooled
        return pooled.reshape(*boxes.shape[:2], 1, 1, -1)


def _in_pixels(proposals: Float[Array, "batch proposals 4"] | None, images: Images) -> Proposals:
    """The proposals inside the image, which are those with an area.

    Raises:
        UserError: If there are none.
    """
    if proposals is None:
        raise UserError(
            "this network looks at proposals, and the data have none: `cnn data propose` writes "
            "files of them, which proposals.train and proposals.eval name"
        )
    size = size_of(images)
    unit = jnp.asarray((*size, *size), proposals.dtype).reshape(1, 1, 4)
    boxes = ops.boxes.clip(proposals * unit, size)
    return Proposals(boxes, ops.boxes.area(boxes) > 0)


def _with_context(
    boxes: Float[Array, "batch boxes 4"], size: int, context_px: int
) -> Float[Array, "batch boxes 4"]:
    """The boxes of which, at this size, the given ones leave so many pixels at each side."""
    if not 0 <= 2 * context_px < size:
        raise UserError(
            f"context_px={context_px} at both sides leave nothing of crop_size={size}; take less"
        )
    share = context_px / (size - 2 * context_px)
    sides = boxes[..., 2:] - boxes[..., :2]
    return jnp.concatenate([boxes[..., :2] - share * sides, boxes[..., 2:] + share * sides], -1)
