"""What the tests of every family share: its smallest network, with all parameters in play."""

import dataclasses
import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn import models, nn
from cnn.ops import formulation

ROWS = [name for name in models.names() if name.endswith("_test")]

STOCHASTIC = (
    "dropout_rate",
    "attention_dropout_rate",
    "auxiliary_dropout_rate",
    "drop_path_rate",
)


def backbone_fields(name: str) -> set[str]:
    family = importlib.import_module(f"cnn.models.{models.family_of(name)}")
    return {field.name for field in dataclasses.fields(family.Backbone)}


def stochastic_fields(name: str) -> list[str]:
    family = importlib.import_module(f"cnn.models.{models.family_of(name)}")
    parts = (family.Backbone, getattr(family, "Head", nn.LinearHead))
    known = {field.name for part in parts for field in dataclasses.fields(part)}
    return [field for field in STOCHASTIC if field in known]


def still(name: str) -> dict[str, float]:
    """The fields with which nothing is drawn at random."""
    return dict.fromkeys(stochastic_fields(name), 0.0)


def images(name: str, batch: int = 4) -> jax.Array:
    info = models.source(name)
    shape = (batch, info.image_size, info.image_size, info.channels)
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def build(name: str, x: jax.Array | None = None, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """A classifier of 5 classes, and variables without the zeros and ones of an initialisation.

    It draws nothing at random unless `fields` says so.
    """
    model = models.classifier(name, num_classes=5, **{**still(name), **fields})
    x = images(name, 1) if x is None else x[:1]
    variables = _draw(model, jax.ShapeDtypeStruct(x.shape, x.dtype))
    # In dicts of its own, which a test may change.
    return model, jax.tree.map(lambda leaf: leaf, variables)


# Networks are compared by their fields, so what several tests need of one is made once.


@functools.cache
def _draw(model: Any, x: jax.ShapeDtypeStruct) -> dict[str, Any]:
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    rng = np.random.default_rng(1)

    def draw(leaf: Any) -> jax.Array:
        values = rng.standard_normal(leaf.shape).astype(leaf.dtype)
        if len(leaf.shape) == 1:
            # Positive, since some are variances.
            return jnp.asarray(np.abs(0.5 + 0.3 * values))
        fan_in = max(leaf.size // leaf.shape[-1], 1)
        return jnp.asarray(values / np.sqrt(fan_in).astype(leaf.dtype))

    return jax.tree.map(draw, shapes)


# Compiled as a whole: operation by operation takes several times as long.


def evaluate(model: Any, variables: dict[str, Any], x: jax.Array) -> Any:
    """Logits, or features of a backbone."""
    return _evaluate(model, formulation.is_stock(), variables, x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(model: Any, stock: bool, variables: dict[str, Any], x: jax.Array) -> Any:
    del stock  # What is traced depends on it.
    return model.apply(variables, x)


def train(
    model: Any,
    variables: dict[str, Any],
    x: jax.Array,
    key: int | None,
    *,
    auxiliary: bool = False,
) -> tuple[Any, Any]:
    """Logits and the moved batch statistics; with `auxiliary` all classifiers' logits, in a row."""
    rngs = {} if key is None else {"dropout": jax.random.key(key)}
    return _train(model, formulation.is_stock(), auxiliary, variables, x, rngs)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train(
    model: Any, stock: bool, auxiliary: bool, variables: dict[str, Any], x: jax.Array, rngs: Any
) -> tuple[Any, Any]:
    del stock
    mutable = ["batch_stats", "auxiliary"] if auxiliary else ["batch_stats"]
    logits, state = model.apply(variables, x, train=True, mutable=mutable, rngs=rngs)
    sown = jax.tree.leaves(state.pop("auxiliary", {}))
    return jnp.concatenate([logits, *sown], axis=-1), state
