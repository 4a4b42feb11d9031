"""YOLO, Redmon et al. 2016, "You only look once: unified, real-time object detection".

The image is cut into a grid (7 x 7 at 448 pixels); each cell says of which class an object is whose
middle lies in it, and has two boxes with a confidence each: figure 3, section 2 and equation 3. As
in the authors' code the network gives the roots of a box's width and height, so that its box is
their square, and a confidence learns the overlap.

Differs from the paper: of several objects whose middles share a cell the first is learnt.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from cnn import nn
from cnn.detectors.contract import Detections, Images, Objects
from cnn.nn.family import Features, Source
from cnn.ops import boxes as box_ops
from cnn.ops.nms import nms

_PAPER = "Redmon et al., You only look once: unified, real-time object detection"
_COORDINATES, _NO_OBJECT = 5.0, 0.5
"""Equation 3's weights of boxes, and of confidences where there is no object."""

VARIANTS: dict[str, dict[str, Any]] = {
    "yolo_v1": {"backbone": "darknet20"},
    "yolo_v1_test": {"backbone": "darknet_test", "conv_width": 16, "hidden_size": 32},
}


def source(name: str) -> Source:
    """The paper, and the images and classes of PASCAL VOC."""
    if name.endswith("_test"):
        return Source(_PAPER, 2016, image_size=32, num_classes=3)
    return Source(_PAPER, 2016, image_size=448, num_classes=20)


class Raw(NamedTuple):
    """What is said of each cell of the grid, row by row.

    Attributes:
        middles: (y, x) of each box, from the cell's upper left corner, in cells.
        roots: The square roots of its height and width as shares of the image.
        confidences: Of each box, the overlap with an object that is expected.
        classes: The probability of each class if there is an object.
        corners: The upper left ones of the cells, as shares.
        size: Height and width of a cell, as shares.
    """

    middles: Float[Array, "batch cells boxes 2"]
    roots: Float[Array, "batch cells boxes 2"]
    confidences: Float[Array, "batch cells boxes"]
    classes: Float[Array, "batch cells classes"]
    corners: Float[Array, "cells 2"]
    size: Float[Array, " 2"]


_BY_IMAGE: Any = Raw(0, 0, 0, 0, None, None)  # type: ignore[arg-type]


class Detector(linen.Module):
    """The network, its losses and what it finds; a network is of one size of images.

    Attributes:
        backbone: Images -> `Features`, whose last map is halved once more to the grid.
        num_classes: Kinds of objects.
        boxes_per_cell: Boxes that a cell may choose from.
        conv_width: Channels of the four convolutions behind the backbone.
        hidden_size: Of the dense layer before the outputs.
        dropout_rate: After it.
        score_threshold: A detection of a lower score is none.
        iou_threshold: Of non-maximum suppression, class by class.
        max_detections: How many come out of it.
        sync: Without use here, since the layers have no batch norm.
        dtype: Of the computation; raw outputs are float32 or wider.
    """

    backbone: Callable[..., Features]
    num_classes: int
    boxes_per_cell: int = 2
    conv_width: int = 1024
    hidden_size: int = 4096
    dropout_rate: float = 0.5
    score_threshold: float = 0.001
    iou_threshold: float = 0.5
    max_detections: int = 100
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Images, *, train: bool = False) -> Raw:
        """The raw outputs, which are linear."""
        maps = self.backbone(images, train=train).maps
        x = maps[max(maps)]
        for index in range(4):
            x = nn.Conv(
                self.conv_width,
                3,
                stride=2 if index == 1 else 1,
                use_bias=True,
                kernel_init=variance_scaling(2.0, "fan_in", "normal"),
                dtype=self.dtype,
                name=f"conv{index}",
            )(x)
            x = jax.nn.leaky_relu(x, 0.1)
        rows, columns = x.shape[1:3]
        cells = rows * columns
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        x = dense(self.hidden_size, name="hidden")(x.reshape(len(x), -1))
        x = linen.Dropout(self.dropout_rate)(jax.nn.leaky_relu(x, 0.1), deterministic=not train)
        x = dense(cells * (5 * self.boxes_per_cell + self.num_classes), name="outputs")(x)
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32)).reshape(len(x), cells, -1)
        boxes = x[..., : 5 * self.boxes_per_cell].reshape(*x.shape[:2], self.boxes_per_cell, 5)
        corners = np.indices((rows, columns)).reshape(2, -1).T / (rows, columns)
        return Raw(
            boxes[..., :2],
            boxes[..., 2:4],
            boxes[..., 4],
            x[..., 5 * self.boxes_per_cell :],
            jnp.asarray(corners, jnp.float32),
            jnp.asarray((1 / rows, 1 / columns), jnp.float32),
        )

    def losses(
        self, images: Images, objects: Objects, *, train: bool = True
    ) -> dict[str, Float[Array, " batch"]]:
        """Equation 3 in parts, as weighed there: `box`, `object`, `nothing` and `class`."""
        raw = self(images, train=train)
        of_images = jax.vmap(image_losses, in_axes=(_BY_IMAGE, 0, 0))
        return of_images(raw, objects.boxes, objects.labels)

    def detect(self, images: Images) -> Detections:
        """What is in the images: each box of a cell as each of the classes."""

        def of_image(raw: Any) -> Detections:
            scores = jnp.clip(raw.confidences[..., None] * raw.classes[:, None, :], 0.0, 1.0)
            shape = scores.shape
            boxes = jnp.clip(boxes_of(raw), 0.0, 1.0)[:, :, None]
            boxes = jnp.broadcast_to(boxes, (*shape, 4)).reshape(-1, 4)
            labels = jnp.arange(shape[-1], dtype=jnp.int32).reshape(1, 1, -1)
            labels = jnp.broadcast_to(labels, shape).reshape(-1)
            scores = scores.reshape(-1)
            sure = jnp.where(scores >= self.score_threshold, scores, -jnp.inf)
            limits = {"iou_threshold": self.iou_threshold, "max_kept": self.max_detections}
            kept = nms(boxes, sure, labels, **limits)
            there = kept >= 0
            return Detections(
                jnp.where(there[:, None], boxes[kept], 0.0),
                jnp.where(there, scores[kept], 0.0),
                jnp.where(there, labels[kept], -1),
            )

        return jax.vmap(of_image, in_axes=(_BY_IMAGE,))(self(images))


def boxes_of(raw: Any) -> Float[Array, "cells boxes 4"]:
    """The boxes of an image, as shares; `raw` is a `Raw` of the one image."""
    middles = raw.corners[:, None] + raw.middles * raw.size.reshape(1, 1, 2)
    half = raw.roots**2 / 2
    return jnp.concatenate([middles - half, middles + half], axis=-1)


def image_losses(
    raw: Any, boxes: Float[Array, "objects 4"], labels: Int[Array, " objects"]
) -> dict[str, Float[Array, ""]]:
    """The parts of the loss of an image, as weighed.

    Args:
        raw: `Raw` of the one image.
        boxes: Its true ones, as shares.
        labels: Of them; below 0 is none.
    """
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    from_corner = (middles[None] - raw.corners[:, None]) / raw.size.reshape(1, 1, 2)
    # A middle on the last edge is of no cell; its object has no area.
    inside = jnp.all((from_corner >= 0) & (from_corner < 1), axis=-1) & (labels >= 0)[None]
    has, owner = jnp.any(inside, axis=1), jnp.argmax(inside, axis=1)
    overlaps = jax.vmap(box_ops.iou)(boxes_of(raw), boxes[owner][:, None])[..., 0]
    overlaps = jax.lax.stop_gradient(overlaps)
    best = jnp.argmax(overlaps, axis=1)
    chosen = has[:, None] & (jnp.arange(overlaps.shape[1])[None] == best[:, None])
    at_cell = jnp.take_along_axis(from_corner, owner[:, None, None], axis=1)
    roots = jnp.sqrt(jnp.maximum(sizes[owner], 0.0))[:, None]
    apart = jnp.sum((raw.middles - at_cell) ** 2 + (raw.roots - roots) ** 2, axis=-1)
    goal = jax.nn.one_hot(labels[owner], raw.classes.shape[-1], dtype=raw.classes.dtype)
    return {
        "box": _COORDINATES * jnp.sum(apart * chosen),
        "object": jnp.sum((raw.confidences - overlaps) ** 2 * chosen),
        "nothing": _NO_OBJECT * jnp.sum(raw.confidences**2 * ~chosen),
        "class": jnp.sum((raw.classes - goal) ** 2 * has[:, None]),
    }
