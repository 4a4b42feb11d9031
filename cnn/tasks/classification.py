"""Classification of images into one of a number of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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
from cnn.errors import UserError, check_not_negative, unknown
from cnn.tasks.mixing import make_mix, mix_targets
from cnn.tasks.views import over_views

Logits = Float[Array, "batch classes"]

LOSSES: dict[str, Callable[[Logits, Logits], Float[Array, " batch"]]] = {
    "softmax": optax.softmax_cross_entropy,
    "sigmoid": lambda logits, targets: jnp.mean(
        optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1
    ),
}
"""By name, (logits, targets) -> the loss of each example."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is trained for, and how: the section `task` of a config.

    Attributes:
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016,
            section 7), in [0, 1). The evaluation's loss is without it.
        top_k: The metric `top{k}_accuracy` is added; 0 means none.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.
        auxiliary_weight: What the loss of each auxiliary classifier counts in training, where a
            model has any: logits that it sows into the collection `auxiliary`. 0.3 in GoogLeNet's
            paper (Szegedy et al. 2015, section 5); 0 leaves them untrained.
        mixing: Options of `cnn.tasks.mixing.make_mix`; None mixes nothing. Where it mixes, accuracy
            in training is that on mixed images, against their own class.
        loss: `softmax`: the cross-entropy of one distribution over the classes. `sigmoid`: the mean
            over the classes of their binary cross-entropies, so that an image may have several, as
            mixed ones do (Beyer et al. 2020, "Are we done with ImageNet?", section 5; Wightman et
            al. 2021, "ResNet strikes back", section 3.1; timm's mean).
        target_threshold: With `sigmoid`, a class counts whole where its target, mixed and smoothed,
            is above this, and not at all elsewhere, in [0, 1); 0.2 in procedures A1 and A2 of
            "ResNet strikes back". 0 leaves the targets as they are.

    Raises:
        UserError: If a value is out of its range, or a threshold meant for another loss.
    """

    label_smoothing: float = 0.0
    top_k: int = 0
    accumulate_steps: int = 1
    auxiliary_weight: float = 0.3
    mixing: Mapping[str, Any] | None = None
    loss: str = "softmax"
    target_threshold: float = 0.0

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "target_threshold"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"task.{name} must be in [0, 1), got {getattr(self, name)}")
        check_not_negative("task", top_k=self.top_k, auxiliary_weight=self.auxiliary_weight)
        if self.loss not in LOSSES:
            raise unknown("value of task.loss", self.loss, LOSSES)
        if self.target_threshold and self.loss != "sigmoid":
            raise UserError(
                f"task.target_threshold={self.target_threshold:g} is for task.loss='sigmoid', and "
                f"it is {self.loss!r}; leave it at 0"
            )


def make(
    model: nn.Module,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    **options: Any,
) -> Task[TrainState]:
    """Classification, one class an image.

    The batch has `image` [batch, height, width, channels], `label` [batch] and `weight` [batch],
    which in training may be absent: every example counts 1 then, and no image is looked over.
    `predict` reads only the images and gives `logits` and `probabilities` [batch, classes], which
    are their softmax whatever the loss. In evaluation and prediction images may have an axis of
    views behind that of the batch; the probabilities of an example are the mean of theirs. Where
    the weight is 0, image and label may be anything; only batch norm sees that there was something.

    The metric `loss` is that of the model's logits, also where auxiliary classifiers are trained
    with it, so that it can be compared with the evaluation's and with other models'.

    Args:
        model: Images to logits, with the keyword `train`.
        tx: The optimizer.
        gather: As in `descend`.
        **options: The fields of `Options`.

    Raises:
        UserError: As `Options`, or for what mixing refuses.
    """
    chosen = Options(**options)
    loss_of, top_k = LOSSES[chosen.loss], chosen.top_k
    mix = make_mix(chosen.mixing)

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
        targets = _targets(chosen, mix_targets(one_hot(batch["label"], logits), kept))
        losses = loss_of(logits, targets)
        metrics = measure(logits, batch["label"], weight, losses)
        loss = metrics["loss"].compute()
        for others in auxiliary if chosen.auxiliary_weight else ():
            losses = loss_of(others, targets)
            loss += chosen.auxiliary_weight * Mean.of(losses, weight).compute()
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
        losses = loss_of(logits, one_hot(batch["label"], logits))
        return measure(logits, batch["label"], batch["weight"], losses)

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Float[Array, "batch classes"]]:
        logits = forward(state, batch)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    step = descend(loss_fn, tx, accumulate_steps=chosen.accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict)


def one_hot(labels: Int[Array, " batch"], logits: Logits) -> Logits:
    """1 at the class of each example, for as many classes as there are logits."""
    return jax.nn.one_hot(labels, logits.shape[-1])


def _targets(options: Options, targets: Logits) -> Logits:
    """What the logits are to become, from the shares of the classes."""
    targets = optax.smooth_labels(targets, options.label_smoothing)
    if options.target_threshold:
        return (targets > options.target_threshold).astype(targets.dtype)
    return targets


def forward_train(
    model: nn.Module, params: Params, model_state: ModelState, images: Any, key: Key
) -> tuple[Float[Array, "batch classes"], list[Float[Array, "batch classes"]], ModelState]:
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
