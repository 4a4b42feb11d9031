"""What the tests of every family share: its smallest network, with all parameters in play."""

import dataclasses
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn import models, nn

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
    shapes = jax.eval_shape(lambda key: model.init(key, x, train=False), jax.random.key(0))
    rng = np.random.default_rng(1)

    def draw(leaf: Any) -> jax.Array:
        values = rng.standard_normal(leaf.shape).astype(leaf.dtype)
        if len(leaf.shape) == 1:
            # Positive, since some are variances.
            return jnp.asarray(np.abs(0.5 + 0.3 * values))
        fan_in = max(leaf.size // leaf.shape[-1], 1)
        return jnp.asarray(values / np.sqrt(fan_in).astype(leaf.dtype))

    return model, jax.tree.map(draw, shapes)


# Compiled as a whole: operation by operation takes several times as long.


def evaluate(model: Any, variables: dict[str, Any], x: jax.Array) -> Any:
    """Logits, or features of a backbone."""
    return jax.jit(lambda variables, x: model.apply(variables, x))(variables, x)


def train(
    model: Any,
    variables: dict[str, Any],
    x: jax.Array,
    key: int | None,
    *,
    auxiliary: bool = False,
) -> tuple[Any, Any]:
    """Logits and the moved batch statistics; with `auxiliary` all classifiers' logits, in a row."""

    def run(variables: dict[str, Any], x: jax.Array, key: Any) -> tuple[Any, Any]:
        rngs = {} if key is None else {"dropout": key}
        mutable = ["batch_stats", "auxiliary"] if auxiliary else ["batch_stats"]
        logits, state = model.apply(variables, x, train=True, mutable=mutable, rngs=rngs)
        sown = jax.tree.leaves(state.pop("auxiliary", {}))
        return jnp.concatenate([logits, *sown], axis=-1), state

    return jax.jit(run)(variables, x, None if key is None else jax.random.key(key))
