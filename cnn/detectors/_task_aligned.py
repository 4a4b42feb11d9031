"""Which points learn which objects: task-aligned assignment, and the overlap that boxes learn by.

Feng et al. 2021, "TOOD: task-aligned one-stage object detection", section 3.2, as in YOLOv8. Boxes
are (y0, x0, y1, x1) in pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cnn.ops import boxes as box_ops

_EPSILON = 1e-9

Boxes = Float[Array, "... 4"]


class Assignment(NamedTuple):
    """What each point learns.

    Attributes:
        owner: The number of its object; means nothing where it has none.
        has: Whether it has one.
        targets: What its probabilities are to become: of its object's class how good the point is
            at it, in [0, 1], else 0.
    """

    owner: Int[Array, " points"]
    has: Bool[Array, " points"]
    targets: Float[Array, "points classes"]


def assign(
    scores: Float[Array, "points classes"],
    boxes: Float[Array, "points 4"],
    points: Float[Array, "points 2"],
    objects: Float[Array, "objects 4"],
    labels: Int[Array, " objects"],
    *,
    best: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> Assignment:
    """The assignment of an image; no gradient goes through it.

    A point inside of an object is as good at it as score^alpha overlap^beta, equation 1. The `best`
    of each object learn it, and one that is among those of several the one it overlaps most.

    Args:
        scores: Of each point, in [0, 1].
        boxes: Of each point.
        points: (y, x) in pixels.
        objects: The true boxes.
        labels: Of them; below 0 is none.
        best: Points an object.
        alpha: Of the score.
        beta: Of the overlap.
    """
    scores, boxes = jax.lax.stop_gradient((scores, boxes))
    before = points[None] - objects[:, None, :2]
    after = objects[:, None, 2:] - points[None]
    inside = (jnp.minimum(before, after).min(axis=-1) > _EPSILON) & (labels >= 0)[:, None]
    overlap = jnp.maximum(complete_iou(objects[:, None], boxes[None]), 0.0) * inside
    of_label = jnp.take(scores, jnp.maximum(labels, 0), axis=1).T
    quality = of_label**alpha * overlap**beta * inside
    _, places = jax.lax.top_k(jnp.where(inside, quality, -1.0), min(best, len(points)))
    chosen = jnp.zeros(inside.shape, bool).at[jnp.arange(len(objects))[:, None], places].set(True)
    chosen &= inside
    owner = jnp.argmax(jnp.where(chosen, overlap, -1.0), axis=0)
    has = jnp.any(chosen, axis=0)
    chosen &= owner[None] == jnp.arange(len(objects))[:, None]
    # So that the best point of an object has its overlap for a target.
    scale = jnp.max(overlap * chosen, axis=1) / (jnp.max(quality * chosen, axis=1) + _EPSILON)
    goal = jnp.max(quality * chosen * scale[:, None], axis=0)
    classes = jax.nn.one_hot(labels[owner], scores.shape[-1], dtype=scores.dtype)
    return Assignment(owner, has, classes * (goal * has)[:, None])


def complete_iou(left: Boxes, right: Boxes) -> Float[Array, " *pairs"]:
    """The overlap of boxes one by one, less how far apart and how differently shaped they are.

    Zheng et al. 2020, "Distance-IoU loss", equations 7 to 11; in (-1.5, 1]. Boxes without a height
    or width have a finite value and gradient.
    """
    corners, ends = (
        jnp.maximum(left[..., :2], right[..., :2]),
        jnp.minimum(left[..., 2:], right[..., 2:]),
    )
    common = jnp.prod(jnp.maximum(ends - corners, 0.0), axis=-1)
    union = box_ops.area(left) + box_ops.area(right) - common
    iou = common / (union + _EPSILON)
    around = jnp.maximum(left[..., 2:], right[..., 2:]) - jnp.minimum(left[..., :2], right[..., :2])
    diagonal = jnp.sum(around**2, axis=-1) + _EPSILON
    apart = (left[..., :2] + left[..., 2:] - right[..., :2] - right[..., 2:]) / 2
    distance = jnp.sum(apart**2, axis=-1) / diagonal
    shape = 4 / math.pi**2 * (_slant(left) - _slant(right)) ** 2
    trade = jax.lax.stop_gradient(shape / (1 - iou + shape + _EPSILON))
    return iou - distance - trade * shape


def _slant(boxes: Boxes) -> Float[Array, " *pairs"]:
    """The angle of the diagonal."""
    size = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return jnp.arctan(size[..., 1] / (size[..., 0] + _EPSILON))
