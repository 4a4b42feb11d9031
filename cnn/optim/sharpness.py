"""Sharpness-aware minimisation: the gradient where the loss nearby is highest."""

from __future__ import annotations

from typing import Any

import jax
import optax

from cnn.core import Params
from cnn.errors import UserError
from cnn.optim.optimizers import average_gradients


def with_sharpness(
    tx: optax.GradientTransformation, axis_name: str | None = None, *, rho: float = 0.0
) -> optax.GradientTransformation:
    """The optimizer with the gradient of another place, a step up the loss from the parameters.

    SAM (Foret et al. 2021, "Sharpness-aware minimization", algorithm 1). A step takes two passes
    over the batch, with the same mixing and dropout; metrics, and the statistics of batch norm, are
    those of the first. The way up is that of the whole batch, whatever devices and parts it is cut
    into; the paper's experiments have one for each device ("m-sharpness", section 4.1).

    Args:
        tx: The optimizer, with everything that is done to gradients.
        axis_name: Over which gradients are averaged under `pmap`; None elsewhere.
        rho: Length of the step up, by the norm over all parameters: 0.05 in the paper; 0 is off.

    Raises:
        UserError: If `rho` is negative.
    """
    if not rho >= 0:
        raise UserError(f"sharpness.rho must be at least 0, got {rho}")
    if not rho:
        return tx
    average = average_gradients(axis_name)
    inner = optax.with_extra_args_support(tx)

    def update(updates: Params, state: Any, params: Any = None, **extra: Any) -> tuple[Params, Any]:
        up, _ = average.update(updates, average.init(params))
        # A gradient of zero has no direction: then there is no step up.
        scale = rho / (optax.tree.norm(up) + 1e-12)
        there = jax.tree.map(lambda param, way: param + scale * way, params, up)
        return inner.update(extra["grad_fn"](there), state, params, **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)
