"""From scored boxes of a batch to its detections."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnn import ops
from cnn.detectors.contract import Detections
from cnn.nn.family import choose

Boxes = Float[Array, "batch boxes 4"]
Scores = Float[Array, "batch boxes"]
Labels = Int[Array, "batch boxes"]


def above(scores: Float[Array, "*shape"], threshold: float) -> Float[Array, "*shape"]:
    """The scores, minus infinity where they are not above the threshold."""
    return jnp.where(scores > threshold, scores, -jnp.inf)


def large(boxes: Boxes, scores: Scores, *, smallest: float) -> Scores:
    """The scores, minus infinity where a box is lower or narrower than `smallest`."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return jnp.where(jnp.all(sides >= smallest, axis=-1), scores, -jnp.inf)


def take(
    values: Float[Array, "batch boxes *rest"], index: Int[Array, "batch kept"]
) -> Float[Array, "batch kept *rest"]:
    """Of each image those with these numbers; for padding, -1, any."""
    return jax.vmap(lambda x, i: jnp.take(x, i, axis=0, mode="clip"))(values, index)


def suppress(
    boxes: Boxes, scores: Scores, labels: Labels, *, iou_threshold: float, max_kept: int
) -> Int[Array, "batch {max_kept}"]:
    """`ops.nms` of each image."""
    nms = functools.partial(ops.nms, iou_threshold=iou_threshold, max_kept=max_kept)
    return jax.vmap(nms)(boxes, scores, labels)


def detections_of(
    boxes: Boxes,
    scores: Scores,
    labels: Labels,
    image: tuple[int, int],
    *,
    iou_threshold: float,
    max_detections: int,
    suppression: str = "greedy",
) -> Detections:
    """The detections that stay when each class is suppressed by itself.

    Args:
        boxes: In pixels, inside the image.
        scores: Minus infinity for a box that is none.
        labels: From 0 on.
        image: Height and width.
        iou_threshold: As in `ops.nms`.
        max_detections: For each image.
        suppression: `greedy`, or a method of `ops.soft_nms`, which lowers scores instead.

    Raises:
        UserError: If there is no such suppression.
    """
    choose("suppression", suppression, dict.fromkeys(("greedy", "linear", "gaussian")))
    limits = {"iou_threshold": iou_threshold, "max_kept": max_detections}
    if suppression == "greedy":
        kept = suppress(boxes, scores, labels, **limits)
        scores = take(scores, kept)
    else:
        soft = functools.partial(ops.soft_nms, method=suppression, **limits)
        kept, scores = jax.vmap(soft)(boxes, scores, labels)
    real = kept >= 0
    unit = jnp.asarray((*image, *image), boxes.dtype).reshape(1, 1, 4)
    return Detections(
        boxes=jnp.where(real[..., None], take(boxes, kept) / unit, 0),
        scores=jnp.where(real, scores, 0),
        labels=jnp.where(real, jnp.take_along_axis(labels, jnp.maximum(kept, 0), axis=1), -1),
    )
