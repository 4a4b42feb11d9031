"""Losses of boxes, of one image: what optax lacks, and means over what was chosen."""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from cnn import ops

Boxes = Float[Array, "boxes 4"]
Chosen = Bool[Array, " boxes"]


def safe_targets(boxes: Boxes, anchors: Boxes, chosen: Chosen, weights: ops.boxes.Weights) -> Boxes:
    """What deltas are to be; 0 where nothing is to be learnt, so that no logarithm fails there."""
    # An anchor that is no target may have no area, as may a box that is padding.
    start = jnp.where(chosen[:, None], anchors, jnp.asarray([[0.0, 0, 1, 1]], anchors.dtype))
    return ops.boxes.encode(jnp.where(chosen[:, None], boxes, start), start, weights)


def box_loss(
    deltas: Boxes, targets: Boxes, chosen: Chosen, *, beta: float = 0.0
) -> Float[Array, ""]:
    """The sum over the chosen boxes of the smooth L1 loss; Girshick 2015, equation 3.

    Args:
        deltas: As the network gives them.
        targets: What they are to be.
        chosen: Which boxes count.
        beta: Below this difference it is a parabola; 0 is the L1 loss.
    """
    apart = jnp.where(chosen[:, None], deltas - targets, 0)
    if not beta:
        return jnp.sum(jnp.abs(apart))
    return jnp.sum(optax.huber_loss(apart, delta=beta)) / beta


def mean_of(losses: Float[Array, " boxes"], chosen: Chosen) -> Float[Array, ""]:
    """The mean over the chosen; 0 if there are none."""
    count = jnp.maximum(jnp.sum(chosen), 1)
    return jnp.sum(jnp.where(chosen, losses, 0)) / count.astype(losses.dtype)
