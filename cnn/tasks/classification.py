"""Classification of images into one of a number of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax
from flax import linen
from jaxtyping import Array, Float, Int

from cnn import nn
from cnn.core import (
    TEACHER,
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
    without_teacher,
)
from cnn.errors import UserError, check_not_negative, unknown
from cnn.tasks.distillation import make_teaching
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

_SOWN = ("auxiliary", "distillation")


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
            is above this, and not at all elsewhere, in [0, 1), as timm's `bce_target_thresh`.
            0 leaves the targets as they are.
        distillation: Options of `cnn.tasks.distillation.make_teaching`; None is none. The metric
            `loss` is that by the labels then too, and `distillation_loss` that by the teacher.

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
    distillation: Mapping[str, Any] | None = None

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
    model: linen.Module,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    teacher: linen.Module | None = None,
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
        teacher: Images, mixed as the model sees them, to logits, for distillation. Its variables
            are in the model state, zeros until something is put there, so that a run that goes on
            needs no file of them.
        **options: The fields of `Options`.

    Raises:
        UserError: As `Options`, or for what mixing or distillation refuses.
    """
    chosen = Options(**options)
    loss_of = LOSSES[chosen.loss]
    mix, teaching = make_mix(chosen.mixing), make_teaching(teacher, chosen.distillation)

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        images, weight = without_padding(batch)
        images, kept = mix(key, images, weight)
        logits, sown, moved = forward_sown(model, params, model_state, images, key)
        targets = _targets(chosen, mix_targets(one_hot(batch["label"], logits), kept))
        losses = loss_of(logits, targets)
        metrics = measure(logits, batch, weight, losses, top_k=chosen.top_k)
        if teaching is not None:
            said = teaching.logits(model_state, images)
            tokens = sown.get("distillation", {})
            losses, taught = teaching.total(
                _by_name(tokens), logits, said, lambda logits: loss_of(logits, targets)
            )
            metrics["distillation_loss"] = Mean.of(taught, weight)
            moved[TEACHER] = model_state[TEACHER]
        loss: Any = Mean.of(losses, weight).compute()
        for others in jax.tree.leaves(sown["auxiliary"]) if chosen.auxiliary_weight else ():
            losses = loss_of(others, targets)
            loss += chosen.auxiliary_weight * Mean.of(losses, weight).compute()
        return loss, (moved, metrics)

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init({"params": key}, batch["image"][:1], train=False)
        model_state = {name: value for name, value in variables.items() if name != "params"}
        if teaching is not None:
            model_state |= teaching.blank(batch["image"][:1])
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))

    def forward(state: TrainState, batch: Batch) -> Float[Array, "batch classes"]:
        variables = {"params": state.params, **without_teacher(state.model_state)}
        return over_views(
            lambda images: model.apply(variables, images, train=False), batch["image"]
        )

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        logits = forward(state, batch)
        losses = loss_of(logits, one_hot(batch["label"], logits))
        return measure(logits, batch, batch["weight"], losses, top_k=chosen.top_k)

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Float[Array, "batch classes"]]:
        logits = forward(state, batch)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    step = descend(loss_fn, tx, accumulate_steps=chosen.accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict, _make_features(model))


def _make_features(
    model: linen.Module,
) -> Callable[[TrainState, Batch], Float[Array, "batch features"]]:
    def features(state: TrainState, batch: Batch) -> Float[Array, "batch features"]:
        variables = {"params": state.params, **without_teacher(state.model_state)}
        return nn.penultimate(model, variables, batch["image"])

    return features


def measure(
    logits: Logits,
    batch: Batch,
    weight: Float[Array, " batch"],
    losses: Float[Array, " batch"],
    *,
    top_k: int,
) -> Metrics:
    """What is reported of a batch, in training and evaluation."""
    labels = batch["label"]
    correct = jnp.argmax(logits, axis=-1) == labels
    metrics = {"loss": Mean.of(losses, weight), "accuracy": Mean.of(correct, weight)}
    if top_k:
        _, best = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))
        in_top = jnp.any(best == labels[:, None], axis=-1)
        metrics[f"top{top_k}_accuracy"] = Mean.of(in_top, weight)
    return metrics


def one_hot(labels: Int[Array, " batch"], logits: Logits) -> Logits:
    """1 at the class of each example, for as many classes as there are logits."""
    return jax.nn.one_hot(labels, logits.shape[-1])


def without_padding(batch: Batch) -> tuple[Any, Float[Array, " batch"]]:
    """The images, those of padding zero, and the weights, 1 where there are none."""
    images, weight = batch["image"], batch.get("weight")
    if weight is None:
        return images, jnp.ones(len(images), jnp.float32)
    # Padding weighs 0, but 0 times the gradient of a NaN is a NaN.
    real = weight.reshape(-1, *(1 for _ in images.shape[1:])) > 0
    return jnp.where(real, images, 0), weight


def _targets(options: Options, targets: Logits) -> Logits:
    """What the logits are to become, from the shares of the classes."""
    targets = optax.smooth_labels(targets, options.label_smoothing)
    if options.target_threshold:
        return (targets > options.target_threshold).astype(targets.dtype)
    return targets


def forward_train(
    model: linen.Module, params: Params, model_state: ModelState, images: Any, key: Key
) -> tuple[
    Float[Array, "batch *pixels classes"], list[Float[Array, "batch *pixels classes"]], ModelState
]:
    """Logits in training mode, those of auxiliary classifiers, and the model state after the batch.

    `key` draws the dropout.
    """
    logits, sown, moved = forward_sown(model, params, model_state, images, key)
    return logits, jax.tree.leaves(sown["auxiliary"]), moved


def forward_sown(
    model: linen.Module, params: Params, model_state: ModelState, images: Any, key: Key
) -> tuple[Float[Array, "batch *pixels classes"], dict[str, Any], dict[str, Any]]:
    """As `forward_train`, with all that the model sowed, by collection: `auxiliary` and others."""
    state = without_teacher(model_state)
    logits, moved = model.apply(
        {"params": params, **state},
        images,
        train=True,
        mutable=[*state, *_SOWN],
        rngs={"dropout": key},
    )
    moved = dict(moved)
    sown = {name: moved.pop(name, {}) for name in _SOWN}
    return logits, sown, moved  # type: ignore[return-value]


def _by_name(sown: Any) -> dict[str, Any]:
    """What was sown under each name, in whatever module."""
    flat = flax.traverse_util.flatten_dict(sown)
    return {path[-1]: values for path, values in flat.items()}
