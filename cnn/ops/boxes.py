"""Boxes (y0, x0, y1, x1), of whatever unit, and their deltas (x, y, width, height) from others."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Boxes = Float[Array, "*batch boxes 4"]
Weights = tuple[float, float, float, float]

EVEN: Weights = (1.0, 1.0, 1.0, 1.0)

LARGEST_LOG = math.log(1000 / 16)
"""Of a decoded width or height over the anchor's, so that no box of a bad start is infinite."""


def area(boxes: Boxes) -> Float[Array, "*batch boxes"]:
    """Height times width; 0 where a box ends before it begins."""
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return jnp.maximum(height, 0) * jnp.maximum(width, 0)


def iou(
    left: Float[Array, "*batch left 4"], right: Float[Array, "*batch right 4"]
) -> Float[Array, "*batch left right"]:
    """The common area of each pair over that of their union; 0 where both have none."""
    first, second = left[..., :, None, :], right[..., None, :, :]
    corners = jnp.maximum(first[..., :2], second[..., :2])
    ends = jnp.minimum(first[..., 2:], second[..., 2:])
    common = area(jnp.concatenate([corners, ends], axis=-1))
    union = area(left)[..., :, None] + area(right)[..., None, :] - common
    return jnp.where(union > 0, common / jnp.where(union > 0, union, 1), 0)


def clip(boxes: Boxes, size: tuple[int | float, int | float]) -> Boxes:
    """What of the boxes lies inside an image.

    Args:
        boxes: In the unit of `size`.
        size: Height and width of the image.
    """
    limits = jnp.asarray((*size, *size), boxes.dtype)
    limits = limits.reshape(*(1,) * (boxes.ndim - 1), 4)
    return jnp.clip(boxes, jnp.zeros_like(limits), limits)


def encode(boxes: Boxes, anchors: Boxes, weights: Weights = EVEN) -> Boxes:
    """The deltas that make boxes of anchors; Ren et al. 2015, "Faster R-CNN", equation 2.

    Args:
        boxes: Of a height and a width above 0.
        anchors: As many, in the same unit.
        weights: Of x, y, width and height: what the deltas are multiplied by.
    """
    y, x, height, width = _middles(boxes)
    from_y, from_x, from_height, from_width = _middles(anchors)
    return jnp.stack(
        [
            weights[0] * (x - from_x) / from_width,
            weights[1] * (y - from_y) / from_height,
            weights[2] * jnp.log(width / from_width),
            weights[3] * jnp.log(height / from_height),
        ],
        axis=-1,
    )


def decode(deltas: Boxes, anchors: Boxes, weights: Weights = EVEN) -> Boxes:
    """The boxes that deltas make of anchors: the inverse of `encode`.

    A box is at most 1000/16 times as high or wide as its anchor, as in the authors' code.

    Args:
        deltas: Of x, y, width and height.
        anchors: As many, in the unit of the result.
        weights: As in `encode`.
    """
    y, x, height, width = _middles(anchors)
    x += deltas[..., 0] / weights[0] * width
    y += deltas[..., 1] / weights[1] * height
    width *= jnp.exp(jnp.minimum(deltas[..., 2] / weights[2], LARGEST_LOG))
    height *= jnp.exp(jnp.minimum(deltas[..., 3] / weights[3], LARGEST_LOG))
    corners = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    return jnp.stack(corners, axis=-1)


def _middles(boxes: Boxes) -> tuple[Float[Array, "*batch boxes"], ...]:
    """Of each box the middle (y, x), the height and the width."""
    y0, x0, y1, x1 = jnp.moveaxis(boxes, -1, 0)
    return (y0 + y1) / 2, (x0 + x1) / 2, y1 - y0, x1 - x0
