"""Classification of images into one of a number of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int

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
from cnn.errors import UserError
from cnn.tasks.mixing import make_mix, mix_targets
from cnn.tasks.views import over_views


def make(
    model: nn.Module,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    label_smoothing: float,
    top_k: int,
    accumulate_steps: int,
    auxiliary_weight: float = 0.3,
    mixing: Mapping[str, Any] | None = None,
) -> Task[TrainState]:
    """Cross-entropy classification.

    The batch has `image` [batch, height, width, channels], `label` [batch] and `weight` [batch],
    which in training may be absent: every example counts 1 then, and no image is looked over.
    `predict` reads only the images and gives `logits` and `probabilities` [batch, classes]. In
    evaluation and prediction images may have an axis of views behind that of the batch; the
    probabilities of an example are the mean of theirs. Where the weight is 0, image and label may
    be anything; only batch norm sees that there was something.

    The metric `loss` is the cross-entropy of the model's logits, also where auxiliary classifiers
    are trained with it, so that it can be compared with the evaluation's and with other models'.

    Args:
        model: Images to logits, with the keyword `train`.
        tx: The optimizer.
        gather: As in `descend`.
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016,
            section 7), in [0, 1). The evaluation's loss is without it.
        top_k: The metric `top{k}_accuracy` is added; 0 means none.
        auxiliary_weight: What the loss of each auxiliary classifier counts in training, where a
            model has any: logits that it sows into the collection `auxiliary`. 0.3 in GoogLeNet's
            paper (Szegedy et al. 2015, section 5); 0 leaves them untrained.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.
        mixing: Options of `cnn.tasks.mixing.make_mix`; None mixes nothing. Where it mixes, accuracy
            in training is that on mixed images, against their own class.

    Raises:
        UserError: For a smoothing outside [0, 1), a negative `top_k` or `auxiliary_weight`, or what
            mixing refuses.
    """
    _check(label_smoothing=label_smoothing, top_k=top_k, auxiliary_weight=auxiliary_weight)

    mix = make_mix(mixing)

    def measure(
        logits: Float[Array, "batch classes"],
        labels: Int[Array, " batch"],
        weight: Float[Array, " batch"],
        losses: Float[Array, " batch"],
    ) -> Metrics:
        correct = jnp.argmax(logits, axis=-1) == labels
        metrics = {"loss": Mean.of(losses, weight), "accuracy": Mean.of(correct, weight)}
        if top_k:
            _, best = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))
            in_top = jnp.any(best == labels[:, None], axis=-1)
            metrics[f"top{top_k}_accuracy"] = Mean.of(in_top, weight)
        return metrics

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        images, weight = batch["image"], batch.get("weight")
        if weight is None:
            weight = jnp.ones(len(images), jnp.float32)
        else:
            # Padding weighs 0, but 0 times the gradient of a NaN is a NaN.
            real = weight.reshape(-1, *(1 for _ in images.shape[1:])) > 0
            images = jnp.where(real, images, 0)
        images, kept = mix(key, images, weight)
        logits, auxiliary, model_state = forward_train(model, params, model_state, images, key)
        targets = mix_targets(jax.nn.one_hot(batch["label"], logits.shape[-1]), kept)
        targets = optax.smooth_labels(targets, label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        metrics = measure(logits, batch["label"], weight, losses)
        loss = metrics["loss"].compute()
        for others in auxiliary if auxiliary_weight else ():
            losses = optax.softmax_cross_entropy(others, targets)
            loss += auxiliary_weight * Mean.of(losses, weight).compute()
        return loss, (model_state, metrics)

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init({"params": key}, batch["image"][:1], train=False)
        model_state = {name: value for name, value in variables.items() if name != "params"}
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))

    def forward(state: TrainState, batch: Batch) -> Float[Array, "batch classes"]:
        variables = {"params": state.params, **state.model_state}
        return over_views(
            lambda images: model.apply(variables, images, train=False), batch["image"]
        )

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        logits = forward(state, batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return measure(logits, batch["label"], batch["weight"], losses)

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Float[Array, "batch classes"]]:
        logits = forward(state, batch)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    step = descend(loss_fn, tx, accumulate_steps=accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict)


def _check(*, label_smoothing: float, top_k: int, auxiliary_weight: float) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"task.label_smoothing must be in [0, 1), got {label_smoothing}")
    if top_k < 0:
        raise UserError(f"task.top_k must be at least 0, got {top_k}")
    if not auxiliary_weight >= 0.0:
        raise UserError(f"task.auxiliary_weight must be at least 0, got {auxiliary_weight}")


def forward_train(
    model: nn.Module, params: Params, model_state: ModelState, images: Any, key: Key
) -> tuple[
    Float[Array, "batch *pixels classes"], list[Float[Array, "batch *pixels classes"]], ModelState
]:
    """Logits in training mode, those of auxiliary classifiers, and the model state after the batch.

    `key` draws the dropout.
    """
    logits, moved = model.apply(
        {"params": params, **model_state},
        images,
        train=True,
        mutable=[*model_state, "auxiliary"],
        rngs={"dropout": key},
    )
    moved = dict(moved)
    auxiliary = jax.tree.leaves(moved.pop("auxiliary", {}))
    return logits, auxiliary, moved  # type: ignore[return-value]
