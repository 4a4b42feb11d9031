"""A detector of one stage without anchors, after YOLOv8 (Jocher et al. 2023).

There is no paper of it; the parts are: a cross-stage partial Darknet (`cnn.models.csp_darknet`), a
feature pyramid and a path back down (Liu et al. 2018, "Path aggregation network"), heads apart for
boxes and classes (Ge et al. 2021, "YOLOX", section 2.1), sides as distributions over whole strides
(Li et al. 2020, "Generalized focal loss", section 3.2), task-aligned assignment (Feng et al. 2021,
"TOOD") and the loss by CIoU (Zheng et al. 2020). Parameters are those of YOLOv8 n, s and m.

Differs from YOLOv8: the losses of an image are divided by its own sum of targets, not by the
batch's, so that they do not depend on its neighbours; an object's best points are inside of it also
while no box overlaps it; classes start at a probability of 0.01 at every stride (Lin et al. 2017,
"Focal loss for dense object detection", section 4.1).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from jax.nn.initializers import constant
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cnn import nn
from cnn.detectors._task_aligned import assign, complete_iou
from cnn.detectors.contract import Detections, Images, Objects
from cnn.errors import UserError
from cnn.nn.family import Features, Source
from cnn.ops.nms import nms

_PAPER = "Jocher et al., Ultralytics YOLOv8"
_PRIOR = 0.01
_GAINS = {"box": 7.5, "class": 0.5, "side": 1.5}
"""What the parts of the loss weigh in YOLOv8."""

VARIANTS: dict[str, dict[str, Any]] = {
    "yolo_free_n": {"backbone": "csp_darknet_n"},
    "yolo_free_s": {"backbone": "csp_darknet_s"},
    "yolo_free_m": {"backbone": "csp_darknet_m", "neck_depth": 2},
    "yolo_free_test": {"backbone": "csp_darknet_test", "levels": 2, "bins": 8},
}


def source(name: str) -> Source:
    """Where a variant comes from, and the images and classes of COCO."""
    if name.endswith("_test"):
        return Source(_PAPER, 2023, image_size=32, num_classes=3)
    return Source(_PAPER, 2023, image_size=640, num_classes=80)


class Raw(NamedTuple):
    """What the heads say of each point, fine maps first, each map row by row.

    Attributes:
        sides: Logits of the distance to the top, left, bottom and right side: bin i is i strides.
        logits: Of each class.
        points: (y, x) in pixels of the image.
        strides: Of each point's map, in pixels.
    """

    sides: Float[Array, "batch points 4 bins"]
    logits: Float[Array, "batch points classes"]
    points: Float[Array, "points 2"]
    strides: Float[Array, " points"]


class Detector(linen.Module):
    """The network, its losses and what it finds.

    Attributes:
        backbone: Images -> `Features`.
        num_classes: Kinds of objects.
        levels: How many maps of the backbone are read, those of the largest strides.
        neck_depth: Blocks in each stage of the pyramid.
        bins: Of the distribution of a side, which is at most `bins - 1` strides away.
        score_threshold: A detection of a lower score is none.
        iou_threshold: Of non-maximum suppression, class by class.
        candidates: The surest pairs of point and class, which go into it.
        max_detections: How many of them come out.
        sync: Of batch norm.
        dtype: Of the computation; raw outputs are float32 or wider.
    """

    backbone: Callable[..., Features]
    num_classes: int
    levels: int = 3
    neck_depth: int = 1
    bins: int = 16
    score_threshold: float = 0.001
    iou_threshold: float = 0.7
    candidates: int = 1000
    max_detections: int = 100
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Images, *, train: bool = False) -> Raw:
        """The raw outputs of the heads.

        Raises:
            UserError: If the backbone has fewer maps than `levels`.
        """
        every = self.backbone(images, train=train).maps
        if len(every) < self.levels:
            raise UserError(f"levels is {self.levels}, but the backbone has {len(every)} maps")
        strides = sorted(every)[-self.levels :]
        maps = self._pyramid([every[stride] for stride in strides], train=train)
        grids = [_grid(x, stride) for x, stride in zip(maps, strides, strict=True)]
        finest = maps[0].shape[-1]
        width = max(16, finest // 4, 4 * self.bins)
        sides = self._heads(maps, "sides", width, 4 * self.bins, 1.0, train=train)
        width = max(finest, min(self.num_classes, 100))
        start = math.log(_PRIOR / (1 - _PRIOR))
        logits = self._heads(maps, "classes", width, self.num_classes, start, train=train)
        return Raw(
            sides.reshape(*sides.shape[:2], 4, self.bins),
            logits,
            jnp.concatenate([points for points, _ in grids]),
            jnp.concatenate([strides for _, strides in grids]),
        )

    def losses(
        self, images: Images, objects: Objects, *, train: bool = True
    ) -> dict[str, Float[Array, " batch"]]:
        """`box` (CIoU), `class` and `side` (distribution focal loss), as YOLOv8 weighs them."""
        raw, scale = self(images, train=train), _scale(images)

        def of_image(sides: Any, logits: Any, boxes: Any, labels: Any) -> dict[str, Any]:
            of_one = raw._replace(sides=sides[None], logits=logits[None])
            return image_losses(of_one, boxes * scale, labels)

        parts = jax.vmap(of_image)(raw.sides, raw.logits, objects.boxes, objects.labels)
        return {name: _GAINS[name] * loss for name, loss in parts.items()}

    def detect(self, images: Images) -> Detections:
        """What is in the images; a point may be of several classes."""
        raw, scale = self(images), _scale(images)
        count = min(self.candidates, raw.logits.shape[1] * self.num_classes)

        def of_image(sides: Any, logits: Any) -> Detections:
            surest, places = jax.lax.top_k(logits.reshape(-1), count)
            point, label = places // self.num_classes, places % self.num_classes
            boxes = boxes_of(sides[point], raw.points[point], raw.strides[point])
            boxes = jnp.clip(boxes / scale, 0.0, 1.0)
            scores = jax.nn.sigmoid(surest)
            sure = jnp.where(scores >= self.score_threshold, scores, -jnp.inf)
            limits = {"iou_threshold": self.iou_threshold, "max_kept": self.max_detections}
            kept = nms(boxes, sure, label, **limits)
            there = kept >= 0
            return Detections(
                jnp.where(there[:, None], boxes[kept], 0.0),
                jnp.where(there, scores[kept], 0.0),
                jnp.where(there, label[kept].astype(jnp.int32), -1),
            )

        return jax.vmap(of_image)(raw.sides, raw.logits)

    def _pyramid(self, maps: list[Array], *, train: bool) -> list[Array]:
        """Maps of the same sizes and widths, each of which has seen all others."""
        last = len(maps) - 1
        tops = {last: maps[last]}
        for level in reversed(range(last)):
            finer = maps[level]
            above = jnp.repeat(jnp.repeat(tops[level + 1], 2, axis=1), 2, axis=2)
            # A side that is odd was rounded up when it was halved.
            above = above[:, : finer.shape[1], : finer.shape[2]]
            tops[level] = self._stage(above, finer, f"up{level}", finer.shape[-1], train=train)
        found = [tops[0]]
        for level in range(1, len(maps)):
            before = found[-1]
            x = self._layer(before, f"down{level}", before.shape[-1], 2, train=train)
            width = maps[level].shape[-1]
            found.append(self._stage(x, tops[level], f"out{level}", width, train=train))
        return found

    def _heads(
        self,
        maps: list[Array],
        name: str,
        width: int,
        features: int,
        start: float,
        *,
        train: bool,
    ) -> Float[Array, "batch points features"]:
        """Two layers and a 1x1 convolution on each map; the points of all maps in a row."""
        found = []
        for level, x in enumerate(maps):
            for index in range(2):
                x = self._layer(x, f"{name}{level}_{index}", width, 1, train=train)
            x = nn.Conv(
                features,
                1,
                use_bias=True,
                bias_init=constant(start),
                dtype=self.dtype,
                name=f"{name}{level}_out",
            )(x)
            found.append(x.reshape(len(x), -1, features))
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return jnp.concatenate(found, axis=1).astype(wide)

    def _stage(self, x: Array, other: Array, name: str, features: int, *, train: bool) -> Array:
        stage = nn.CrossStage(features, self.neck_depth, False, self._style(), name=name)
        return stage(jnp.concatenate([x, other], axis=-1), train=train)

    def _layer(self, x: Array, name: str, features: int, stride: int, *, train: bool) -> Array:
        conv = {"features": features, "kernel_size": 3, "stride": stride}
        return nn.conv_norm(x, name, self._style(), train=train, activation="silu", **conv)

    def _style(self) -> nn.Style:
        return nn.Style("silu", "none", 0.97, 1e-3, self.sync, self.dtype)


def boxes_of(
    sides: Float[Array, "points 4 bins"],
    points: Float[Array, "points 2"],
    strides: Float[Array, " points"],
) -> Float[Array, "points 4"]:
    """The boxes, in pixels, whose sides are as far away as their distributions' means."""
    steps = jnp.arange(sides.shape[-1], dtype=sides.dtype)
    away = jax.nn.softmax(sides) @ steps * strides[:, None]
    return jnp.concatenate([points - away[:, :2], points + away[:, 2:]], axis=-1)


def image_losses(
    raw: Raw, boxes: Float[Array, "objects 4"], labels: Int[Array, " objects"]
) -> dict[str, Float[Array, ""]]:
    """The parts of the loss of an image, before they are weighed.

    Args:
        raw: Of the one image.
        boxes: Its true ones, in pixels.
        labels: Of them; below 0 is none.
    """
    sides, logits = raw.sides[0], raw.logits[0]
    found = boxes_of(sides, raw.points, raw.strides)
    learnt = assign(jax.nn.sigmoid(logits), found, raw.points, boxes, labels)
    total = jnp.maximum(jnp.sum(learnt.targets), 1.0)
    entropy = optax.sigmoid_binary_cross_entropy(logits, learnt.targets)
    weight = jnp.sum(learnt.targets, axis=-1)
    # A point without an object would learn of padding, whose weight is 0 but whose gradient may
    # not be a number.
    own = jnp.where(learnt.has[:, None], boxes[learnt.owner], jax.lax.stop_gradient(found))
    away = jnp.concatenate([raw.points - own[:, :2], own[:, 2:] - raw.points], axis=-1)
    focal = side_loss(sides, away / raw.strides[:, None])
    return {
        "box": jnp.sum((1 - complete_iou(found, own)) * weight) / total,
        "class": jnp.sum(entropy) / total,
        "side": jnp.sum(focal * weight) / total,
    }


def side_loss(
    sides: Float[Array, "points 4 bins"], away: Float[Array, "points 4"]
) -> Float[Array, " points"]:
    """The distribution focal loss, Li et al. 2020, equation 6, mean over the four sides.

    Args:
        sides: Logits of each distance.
        away: The true distances in strides; one beyond the last bin counts as just before it.
    """
    bins = sides.shape[-1]
    away = jnp.clip(away, 0.0, bins - 1 - 0.01)[..., None]
    # The two bins around a distance share it, the nearer the more.
    shares = jnp.maximum(1 - jnp.abs(away - jnp.arange(bins).reshape(1, 1, -1)), 0.0)
    return -jnp.sum(shares * jax.nn.log_softmax(sides), axis=-1).mean(axis=-1)


def _scale(images: Images) -> Float[Array, "1 4"]:
    """What makes pixels of shares."""
    height, width = images.shape[1:3]
    return jnp.asarray([[height, width, height, width]], jnp.float32)


def _grid(
    x: Float[Array, "batch height width channels"], stride: int
) -> tuple[Float[Array, "points 2"], Float[Array, " points"]]:
    """The points of a map, and the stride of each."""
    rows, columns = (stride * (np.arange(side) + 0.5) for side in x.shape[1:3])
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return jnp.asarray(points, jnp.float32), jnp.full(len(points), stride, jnp.float32)
