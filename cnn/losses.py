"""Losses of a class for each pixel, of each image: what optax lacks.

Each is of an image by itself, so the loss of a batch is a mean over its images, whatever devices,
parts of a batch or other images there are. Pixels whose class is `IGNORED` count nowhere; an image
of such pixels alone has the loss 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

IGNORED = 255

Logits = Float[Array, "batch height width classes"]
Mask = UInt8[Array, "batch height width"]
Weights = Float[Array, "batch height width"]
Losses = Float[Array, " batch"]


def known_pixels(mask: Mask) -> Bool[Array, "batch height width"]:
    """Which pixels have a class."""
    return mask != IGNORED


def pixel_cross_entropy(
    logits: Logits,
    mask: Mask,
    *,
    class_weights: Float[Array, " classes"] | None = None,
    pixel_weights: Weights | None = None,
    gamma: float = 0.0,
) -> Losses:
    """The mean over an image's pixels of -(1 - p)^gamma log p, p being that of the pixel's class.

    Args:
        logits: Of each pixel.
        mask: Its class.
        class_weights: What pixels of a class weigh; the mean is a weighted one, as torch's. None is
            1.
        pixel_weights: What a pixel's loss is multiplied by besides, without changing what the sum
            is divided by, so that U-Net's borders count more. None is 1.
        gamma: 0 is the cross-entropy; above, pixels that are sure count less: the focal loss, Lin
            et al. 2017, "Focal loss for dense object detection", equation 4, with 2.
    """
    real = known_pixels(mask)
    labels = jnp.where(real, mask, 0).astype(jnp.int32)
    log_probabilities = jax.nn.log_softmax(logits)
    # A sum over classes, since gathering has a gradient that scatters.
    chosen = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    log_p = jnp.sum(log_probabilities * chosen, axis=-1)
    losses = -log_p
    if gamma:
        # The power has no derivative at 0 where p is 1 to the last digit.
        losses *= jnp.maximum(-jnp.expm1(log_p), 1e-7) ** gamma
    weights = real.astype(logits.dtype)
    if class_weights is not None:
        weights *= class_weights[labels]
    total = jnp.sum(weights, axis=(1, 2))
    if pixel_weights is not None:
        losses *= pixel_weights
    summed = jnp.sum(losses * weights, axis=(1, 2))
    return jnp.where(total > 0, summed / jnp.where(total > 0, total, 1.0), 0.0)


def dice_loss(logits: Logits, mask: Mask) -> Losses:
    """1 minus the mean of 2 sum(p t) / (sum(p) + sum(t)) over the classes that an image has.

    p is the probability of a class and t whether the pixel is of it; sums are over the pixels of an
    image. The soft form of Dice's coefficient, Milletari et al. 2016, "V-Net", section 3, without
    the squares.
    """
    real = known_pixels(mask)[..., None]
    targets = jax.nn.one_hot(jnp.where(real[..., 0], mask, 0), logits.shape[-1], dtype=logits.dtype)
    targets = jnp.where(real, targets, 0.0)
    probabilities = jnp.where(real, jax.nn.softmax(logits), 0.0)
    common = jnp.sum(probabilities * targets, axis=(1, 2))
    truth = jnp.sum(targets, axis=(1, 2))
    there = truth > 0
    sums = jnp.sum(probabilities, axis=(1, 2)) + truth
    dice = jnp.where(there, 2 * common / jnp.where(there, sums, 1.0), 0.0)
    count = jnp.sum(there, axis=-1)
    mean = jnp.sum(dice, axis=-1) / jnp.maximum(count, 1)
    return jnp.where(count > 0, 1 - mean, 0.0)
