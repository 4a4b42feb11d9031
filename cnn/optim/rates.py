"""Learning rates that differ from parameter to parameter, and parameters that are frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn.core import Params
from cnn.errors import UserError
from cnn.optim.paths import by_path, check_matched, read_rules

LayersAbove = Callable[[tuple[str, ...]], int]
"""The path of a parameter -> how many layers lie between it and the output."""


def scale_layers(decay: float, layers_above: LayersAbove) -> optax.GradientTransformation:
    """Multiplies the update of each parameter by `decay` to the number of layers above it.

    Raises:
        UserError: If `decay` is not in (0, 1].
    """
    if not 0.0 < decay <= 1.0:
        raise UserError(f"optimizer.layer_decay must be in (0, 1], got {decay}")

    def scaled(path: Any, update: Any) -> Any:
        return update * decay ** layers_above(tuple(key.key for key in path))

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scaled, updates))


def with_rates(
    tx: optax.GradientTransformation,
    steps_per_epoch: int,
    *,
    factors: Sequence[str] = (),
    trained_epochs: Sequence[str] = (),
) -> optax.GradientTransformation:
    """The optimizer with other learning rates for some parameters.

    Both lists hold rules "REGEX=NUMBER"; of those that match the end of a parameter's path, as in
    `parallel.rules`, the first counts.

    Args:
        tx: The optimizer.
        steps_per_epoch: Turns epochs into steps.
        factors: On the whole update of a parameter, decay included, which `regularization.factors`
            can undo: "norm[01]/bias=64" (Jordan 2024, section 3.4, trains biases of norms so).
        trained_epochs: After so many epochs a parameter stays as it is; 0 is from the start:
            "stem_conv/kernel=0".

    Raises:
        UserError: If a rule cannot be read, or, when the optimizer is given its parameters, if it
            matches none of them.
    """
    rates = read_rules("rates.factors", factors)
    spans = read_rules("rates.trained_epochs", trained_epochs)
    if not rates and not spans:
        return tx

    def init(params: Params) -> optax.OptState:
        check_matched("rates.factors", rates, params)
        check_matched("rates.trained_epochs", spans, params)
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params

        def scaled(move: Any, factor: float, epochs: float) -> Any:
            if epochs == math.inf:
                return move * factor
            return jnp.where(state.count < round(epochs * steps_per_epoch), move * factor, 0)

        ones = jax.tree.map(lambda _: 1.0, updates)
        always = jax.tree.map(lambda _: math.inf, updates)
        factors, epochs = by_path(rates, updates, ones), by_path(spans, updates, always)
        after = state._replace(count=optax.safe_increment(state.count))
        return jax.tree.map(scaled, updates, factors, epochs), after

    return optax.chain(tx, optax.GradientTransformation(init, update))
