"""The contract between tasks and the training loop: batches, states, metrics, `Task`, `descend`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Shaped

Batch = Mapping[str, Shaped[Array, "batch ..."]]
"""Arrays by name, the example axis first: `image`, `label`, ... and `weight`, which is 1 for an
example and 0 for padding; a batch without `weight` has no padding."""

Key = PRNGKeyArray
Params = PyTree
ModelState = PyTree
Gather = Callable[[Params], Params]
"""Parameters that lie cut over devices -> the same whole; its transpose cuts the gradients."""


class Mean(NamedTuple):
    """A weighted mean as two sums, so that merging over batches, devices and hosts is addition."""

    total: Float[Array, ""]
    weight: Float[Array, ""]

    @classmethod
    def of(cls, values: Shaped[Array, " batch"], weight: Float[Array, " batch"]) -> Mean:
        """The mean of `values`; an example of weight 0 changes nothing, not even by a NaN."""
        values = jnp.where(weight > 0, values.astype(jnp.float32), 0.0)
        return cls(jnp.sum(values * weight), jnp.sum(weight))

    def compute(self) -> ArrayLike:
        """The mean; NaN where nothing was counted. Of fetched sums it is NumPy's."""
        return self.total / self.weight


Metrics = dict[str, Any]
"""Additive pytrees by name, each with a `compute()`: `Mean`, those of `cnn.metrics`, ..."""


def merge(left: Metrics, right: Metrics) -> Metrics:
    """The metrics of both parts together."""
    return jax.tree.map(jnp.add, left, right)


def compute(metrics: Metrics) -> dict[str, Any]:
    """The value of each metric, by name; of one that has several, those by their own names."""
    values: dict[str, Any] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        values |= value if isinstance(value, Mapping) else {name: value}
    return values


class TrainState(NamedTuple):
    """What a supervised training carries from step to step.

    `model_state` holds the collections that are not trained (batch statistics); `ema` is the moving
    average of (params, model_state), or None where none is kept.
    """

    step: Int[Array, ""]
    params: Params
    model_state: ModelState
    opt_state: optax.OptState
    ema: PyTree = None


def all_params(state: Any) -> Params:
    """The parameters of a state, of all its networks where it has several."""
    if isinstance(state, TrainState):
        return state.params
    return tuple(part.params for part in state if isinstance(part, TrainState))


TEACHER = "teacher"
"""The collection of the model state that holds the variables of a network that teaches the one that
is trained; a step reads them and leaves them as they are."""


def without_teacher(model_state: ModelState) -> dict[str, Any]:
    """The collections of the network that is trained itself."""
    return {name: value for name, value in model_state.items() if name != TEACHER}


S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Task(Generic[S]):
    """A problem as a record of pure functions; the loop calls these and knows nothing else.

    Attributes:
        init: (key, batch) -> the state before the first step.
        step: (state, batch, key) -> the next state and the metrics of the batch.
            `metrics["loss"]` is a `Mean`; where it is not finite, the loop stops.
        evaluate: (state, batch) -> the metrics of the batch, padded examples left out.
        predict: (state, batch) -> outputs, a pytree of arrays with the example axis first.
        features: (state, batch) -> a vector an example [batch, features], for what is learnt on a
            frozen network; None where the task has none.
        part: Of a state of several networks, the field that is the `TrainState` of the one that
            predicts, which is what is averaged; None where the state is a `TrainState` itself.
    """

    init: Callable[[Key, Batch], S]
    step: Callable[[S, Batch, Key], tuple[S, Metrics]]
    evaluate: Callable[[S, Batch], Metrics]
    predict: Callable[[S, Batch], PyTree]
    features: Callable[[S, Batch], Any] | None = None
    part: str | None = None

    def predicting(self, state: Any) -> TrainState:
        """The part of a state that predicts."""
        return state if self.part is None else getattr(state, self.part)

    def with_predicting(self, state: Any, part: TrainState) -> Any:
        """The state with another part that predicts."""
        return part if self.part is None else state._replace(**{self.part: part})


@runtime_checkable
class LossFn(Protocol):
    """The loss of a supervised task: a mean over the batch, and what comes with it."""

    def __call__(
        self, params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        """Returns (loss, (model state after the batch, metrics of the batch))."""
        ...


def descend(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    accumulate_steps: int = 1,
    gather: Gather | None = None,
) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """One gradient step; the only code that differentiates by parameters.

    Args:
        loss_fn: The loss.
        tx: The optimizer. It is given, as `grad_fn`, the gradients of this step as a function of
            parameters, for what needs them at other places than the state's.
        accumulate_steps: The batch is cut into this many parts, whose gradients are averaged before
            the one update: the same step in less memory. Batch norm sees each part by itself, and
            parts count alike, so with padding the step is the same only if it is spread evenly.
        gather: What is done to the parameters before the loss; see `Gather`.

    Raises:
        ValueError: If `accumulate_steps` does not divide the batch.
    """

    def loss_of(params: Params, *rest: Any) -> Any:
        return loss_fn(params if gather is None else gather(params), *rest)

    grad_fn = jax.grad(loss_of, has_aux=True)

    def whole(state: TrainState, batch: Batch, key: Key) -> tuple[Params, ModelState, Metrics]:
        grads, (model_state, metrics) = grad_fn(state.params, state.model_state, batch, key)
        return grads, model_state, metrics

    def in_parts(state: TrainState, batch: Batch, key: Key) -> tuple[Params, ModelState, Metrics]:
        parts = jax.tree.map(_split, batch)
        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(grad_fn, state.params, state.model_state, first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], shapes[1][1]))

        def body(carry: Any, part: Any) -> tuple[Any, None]:
            model_state, (grads, metrics) = carry
            index, examples = part
            part_key = jax.random.fold_in(key, index)
            new_grads, (model_state, new_metrics) = grad_fn(
                state.params, model_state, examples, part_key
            )
            grads = jax.tree.map(lambda total, x: total + x / accumulate_steps, grads, new_grads)
            return (model_state, (grads, merge(metrics, new_metrics))), None

        (model_state, (grads, metrics)), _ = jax.lax.scan(
            body, (state.model_state, zeros), (jnp.arange(accumulate_steps), parts)
        )
        return grads, model_state, metrics

    def _split(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "parts part ..."]:
        if x.shape[0] % accumulate_steps:
            raise ValueError(f"{accumulate_steps} parts do not divide a batch of {x.shape[0]}")
        # Part i is every n-th example, so a batch that is sharded over devices stays where it is.
        return jnp.moveaxis(x.reshape(-1, accumulate_steps, *x.shape[1:]), 1, 0)

    optimizer = optax.with_extra_args_support(tx)
    gradients = whole if accumulate_steps == 1 else in_parts

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        grads, model_state, metrics = gradients(state, batch, key)
        updates, opt_state = optimizer.update(
            grads,
            state.opt_state,
            state.params,
            grad_fn=lambda params: gradients(state._replace(params=params), batch, key)[0],
        )
        return (
            state._replace(
                step=state.step + 1,
                params=optax.apply_updates(state.params, updates),
                model_state=model_state,
                opt_state=opt_state,
            ),
            metrics,
        )

    return step
