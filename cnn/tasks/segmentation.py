"""Semantic segmentation: one of N classes for each pixel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from cnn import losses as pixel_losses
from cnn.core import (
    Batch,
    Gather,
    Key,
    Mean,
    Metrics,
    ModelState,
    Params,
    Task,
    TrainState,
    descend,
)
from cnn.errors import UserError, unknown
from cnn.heads.unet import middle
from cnn.metrics.confusion import Confusion
from cnn.tasks.classification import forward_train

LOSSES = {"cross_entropy": 1.0, "dice": 0.0, "focal": 0.0}
_MAX_PADDING = 1024

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch height width classes"]
Mask = UInt8[Array, "batch height width"]


class Pixels(NamedTuple):
    """What is known of the pixels of a batch; see `make`."""

    mask: Mask
    weight: Float[Array, "batch height width"] | None


def make(
    model: nn.Module,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    losses: Mapping[str, float] = LOSSES,
    focal_gamma: float = 2.0,
    class_weights: Sequence[float] = (),
    auxiliary_weight: float = 0.5,
    accumulate_steps: int = 1,
) -> Task[TrainState]:
    """The task of giving each pixel a class.

    Batches have `image` [batch, height, width, channels], `mask` uint8 [batch, height, width] whose
    pixels of class 255 count nowhere, where wanted `pixel_weight` of its shape (training only), and
    in evaluation `weight` [batch]. `predict` reads only the images and gives `probabilities`
    [batch, height, width, classes] and `classes` uint8 [batch, height, width].

    The loss is a mean over images of means over their pixels, so that it is the same whatever the
    devices and parts of a batch. Evaluation counts every pixel of every image once. Where a model
    gives logits for the middle only (a U-Net without padding), training looks at the middle, and
    evaluation and prediction mirror the image at its edges first, which is the paper's overlap-tile
    strategy (Ronneberger et al. 2015, figure 2).

    Args:
        model: Images to logits of each pixel, with the keyword `train`.
        tx: The optimizer.
        gather: As in `descend`.
        losses: What each counts: `cross_entropy`, `dice` and `focal` of `cnn.losses`. The metric
            `loss` is their sum, without auxiliary heads; the evaluation's is it without the weights
            of pixels.
        focal_gamma: Of the focal loss.
        class_weights: Of the cross-entropy and the focal loss, one for each class; () is 1.
        auxiliary_weight: What the loss of an auxiliary head counts in training, 0.5 in torchvision.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: For a loss that does not exist, or a number below 0.
    """
    _check(losses, focal_gamma, class_weights, auxiliary_weight)
    chosen = {**dict.fromkeys(LOSSES, 0.0), **losses}
    per_class = jnp.asarray(class_weights, jnp.float32) if len(class_weights) else None

    def measure(logits: Logits, pixels: Pixels) -> Float[Array, " batch"]:
        """The loss of each image."""
        entropy = functools.partial(
            pixel_losses.pixel_cross_entropy,
            logits,
            pixels.mask,
            class_weights=per_class,
            pixel_weights=pixels.weight,
        )
        each = {
            "cross_entropy": entropy,
            "focal": lambda: entropy(gamma=focal_gamma),
            "dice": lambda: pixel_losses.dice_loss(logits, pixels.mask),
        }
        return sum((chosen[name] * each[name]() for name in each if chosen[name]), jnp.zeros(()))

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        logits, auxiliary, model_state = forward_train(
            model, params, model_state, batch["image"], key
        )
        _check_classes(class_weights, logits.shape[-1])
        size = (logits.shape[1], logits.shape[2])
        weight = batch.get("pixel_weight")
        mask = middle(batch["mask"], size)
        pixels = Pixels(mask, None if weight is None else middle(weight, size))
        every = jnp.ones(len(logits), jnp.float32)
        loss = Mean.of(measure(logits, pixels), every)
        total = jnp.asarray(loss.compute())
        for others in auxiliary if auxiliary_weight else ():
            total += auxiliary_weight * jnp.mean(measure(others, pixels))
        right = (jnp.argmax(logits, axis=-1) == mask) & pixel_losses.known_pixels(mask)
        accuracy = Mean(
            jnp.sum(right, dtype=jnp.float32),
            jnp.sum(pixel_losses.known_pixels(mask), dtype=jnp.float32),
        )
        return total, (model_state, {"loss": loss, "pixel_accuracy": accuracy})

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init({"params": key}, batch["image"][:1], train=False)
        model_state = {name: value for name, value in variables.items() if name != "params"}
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))

    def forward(state: TrainState, batch: Batch) -> Logits:
        variables = {"params": state.params, **state.model_state}

        def logits_of(images: Images) -> Array:
            logits = model.apply(variables, images, train=False)
            assert isinstance(logits, jax.Array)
            return logits

        return whole_logits(logits_of, batch["image"])

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        logits, mask = forward(state, batch), batch["mask"]
        real = pixel_losses.known_pixels(mask) & (batch["weight"] > 0).reshape(-1, 1, 1)
        loss = Mean.of(measure(logits, Pixels(mask, None)), batch["weight"])
        predicted = jnp.argmax(logits, axis=-1)
        confusion = Confusion.of(mask, predicted, real, logits.shape[-1])
        return {"loss": loss, "confusion": confusion}

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Array]:
        logits = forward(state, batch)
        return {
            "probabilities": jax.nn.softmax(logits),
            "classes": jnp.argmax(logits, axis=-1).astype(jnp.uint8),
        }

    step = descend(loss_fn, tx, accumulate_steps=accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict)


def whole_logits(logits_of: Callable[[Images], Array], images: Images) -> Logits:
    """The logits of every pixel, also by a model that gives those of the middle only.

    The image is mirrored at its edges, by as much as the model loses and, where it does not take
    that size, by the little more that it takes.

    Raises:
        UserError: If the model takes no such size.
    """
    height, width = images.shape[1:3]
    shape = jax.eval_shape(logits_of, images).shape
    lost = max(height - shape[1], width - shape[2])
    if not lost:
        return logits_of(images)
    for padding in range(lost, lost + _MAX_PADDING):
        before, after = padding // 2, padding - padding // 2
        sides = ((0, 0), (before, after), (before, after), (0, 0))
        try:
            # The edges' own pixels are not repeated, as in the paper's figure.
            larger = jnp.pad(images, sides, mode="reflect")
            jax.eval_shape(logits_of, larger)
        except UserError:
            continue
        return middle(logits_of(larger), (height, width))
    raise UserError(f"the model takes no images a little larger than {height}x{width} pixels")


def _check(
    losses: Mapping[str, float],
    focal_gamma: float,
    class_weights: Sequence[float],
    auxiliary_weight: float,
) -> None:
    for name, value in losses.items():
        if name not in LOSSES:
            raise unknown("key of task.losses", name, LOSSES)
        if not value >= 0:
            raise UserError(f"task.losses.{name} must be at least 0, got {value}")
    if not sum(losses.values()) > 0:
        raise UserError(f"task.losses are all 0: nothing to learn (known: {', '.join(LOSSES)})")
    for name, value in (("focal_gamma", focal_gamma), ("auxiliary_weight", auxiliary_weight)):
        if not value >= 0:
            raise UserError(f"task.{name} must be at least 0, got {value}")
    if any(not weight >= 0 for weight in class_weights):
        raise UserError(f"task.class_weights must be at least 0, got {tuple(class_weights)}")


def _check_classes(class_weights: Sequence[float], num_classes: int) -> None:
    if len(class_weights) not in (0, num_classes):
        raise UserError(
            f"task.class_weights has {len(class_weights)} numbers for {num_classes} classes"
        )
