"""Detection: the boxes and classes of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jaxtyping import Array, Float

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
from cnn.detectors.contract import Detections, Objects
from cnn.errors import UserError, unknown
from cnn.metrics.detection import Ranked
from cnn.ops import boxes as box_ops

Boxes = Float[Array, "batch boxes 4"]
Losses = dict[str, Float[Array, " batch"]]


def make(
    model: linen.Module,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    loss_weights: Sequence[Any] = (),
    accumulate_steps: int = 1,
) -> Task[TrainState]:
    """The task of finding objects.

    Batches have `image` [batch, height, width, channels], `boxes` float32 [batch, objects, 4], (y0,
    x0, y1, x1) as shares of height and width, `box_labels` int32 [batch, objects], -1 in padding,
    and in evaluation `weight` [batch]. An object whose label is below -1 is not learnt; -2 - label
    being its class, it may be found or not. A model that reads proposals has those of the batch,
    `proposals` float32 [batch, proposals, 4]. `predict` reads these and the images only and gives
    `detections`, a `Detections`.

    The loss is a mean over images. Evaluation has the loss, and `ap`, `ap50` and `ap75` as
    `cnn.metrics.detection` counts them.

    Args:
        model: A `cnn.detectors.contract.Detector`.
        tx: The optimizer.
        gather: As in `descend`.
        loss_weights: (name, factor) of parts of the model's loss, for instance (("box", 2.0),);
            those that are not named count as in the model's paper. In the log each is `NAME_loss`,
            before its factor.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: If a factor is below 0; from the task: if the model's loss has no such part.
    """
    factors = _factors(loss_weights)
    read = ("proposals",) if getattr(model, "reads_proposals", False) else ()

    def proposed(batch: Batch) -> dict[str, Any]:
        return {name: batch[name] for name in read if name in batch}

    def total(losses: Losses) -> Float[Array, " batch"]:
        for name in factors:
            if name not in losses:
                raise unknown("name in task.loss_weights", name, losses)
        parts = [factors.get(name, 1.0) * loss for name, loss in losses.items()]
        return sum(parts, jnp.zeros_like(parts[0]))

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        found = model.apply(
            {"params": params, **model_state},
            batch["image"],
            _objects(batch),
            **proposed(batch),
            train=True,
            method="losses",
            mutable=list(model_state),
            rngs={"dropout": key, "sample": jax.random.fold_in(key, 1)},
        )
        assert isinstance(found, tuple)
        losses, moved = found
        metrics = _means(total(losses), losses, jnp.ones(len(batch["image"]), jnp.float32))
        return jnp.asarray(metrics["loss"].compute()), (dict(moved), metrics)

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init({"params": key}, batch["image"][:1], train=False)
        model_state = {name: value for name, value in variables.items() if name != "params"}
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))

    def detect(state: TrainState, batch: Batch) -> Detections:
        variables = {"params": state.params, **state.model_state}
        found = model.apply(variables, batch["image"], **proposed(batch), method="detect")
        assert isinstance(found, Detections)
        return found

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        variables = {"params": state.params, **state.model_state}
        losses: Any = model.apply(
            variables,
            batch["image"],
            _objects(batch),
            **proposed(batch),
            train=False,
            method="losses",
        )
        metrics = _means(total(losses), losses, batch["weight"])
        return {**metrics, "ap": _ranked(detect(state, batch), batch, _num_classes(model))}

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Detections]:
        return {"detections": detect(state, batch)}

    step = descend(loss_fn, tx, accumulate_steps=accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict)


def overlaps(found: Boxes, batch: Batch) -> Float[Array, "batch found objects"]:
    """IoU; with objects that do not count the share of a detection that lies on it.

    A crowd of objects has one box, of which a right detection takes a small part.
    """
    boxes = batch["boxes"]
    shared = box_ops.iou(found, boxes)
    sizes = box_ops.area(found)[:, :, None], box_ops.area(boxes)[:, None, :]
    common = shared * (sizes[0] + sizes[1]) / (1 + shared)
    inside = common / jnp.maximum(sizes[0], 1e-12)
    return jnp.where((batch["box_labels"] < -1)[:, None, :], inside, shared)


def _ranked(found: Detections, batch: Batch, num_classes: int) -> Ranked:
    real = (batch["weight"] > 0)[:, None]
    return Ranked.of(
        found.scores,
        jnp.where(real, found.labels, -1),
        overlaps(found.boxes, batch),
        jnp.where(real, batch["box_labels"], -1),
        num_classes,
    )


def _objects(batch: Batch) -> Objects:
    return Objects(batch["boxes"], jnp.maximum(batch["box_labels"], -1))


def _means(
    total: Float[Array, " batch"], losses: Losses, weight: Float[Array, " batch"]
) -> Metrics:
    parts = {f"{name}_loss": Mean.of(loss, weight) for name, loss in losses.items()}
    return {"loss": Mean.of(total, weight), **parts}


def _num_classes(model: Any) -> int:
    return model.num_classes


def _factors(loss_weights: Sequence[Any]) -> dict[str, float]:
    for pair in loss_weights:
        if len(pair) != 2 or not isinstance(pair[0], str) or not pair[1] >= 0:
            raise UserError(
                "task.loss_weights takes pairs of a name and a factor of at least 0, as "
                f"(('box', 2.0),); got {pair!r}"
            )
    return dict(loss_weights)
