"""What pulls parameters to zero: coupled L2 and L1, decoupled weight decay, and what is spared."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn.core import Params
from cnn.errors import check_not_negative, unknown


class Decay(NamedTuple):
    """What pulls parameters to zero: `before` the optimizer's scaling, and `after` it."""

    before: optax.GradientTransformation
    after: optax.GradientTransformation


def make_decay(*, weight_decay: float, l2: float, l1: float, apply_to: str) -> Decay:
    """Penalties on the parameters; 0 means none.

    Args:
        weight_decay: Decoupled (Loshchilov and Hutter 2019, as AdamW in PyTorch): a step subtracts
            learning rate * weight_decay * parameter.
        l2: Coupled: the loss gains l2 / 2 * sum of squares, so the optimizer sees l2 * parameter.
        l1: Coupled: the loss gains l1 * sum of absolute values.
        apply_to: `kernels` leaves out biases, scales and embeddings; `all` leaves out nothing.

    Raises:
        UserError: For a negative penalty or an unknown `apply_to`.
    """
    check_not_negative("regularization", weight_decay=weight_decay, l2=l2, l1=l1)
    if apply_to not in ("kernels", "all"):
        raise unknown("value of regularization.apply_to", apply_to, ("kernels", "all"))
    mask = kernels if apply_to == "kernels" else None
    before = [optax.identity()]
    if l2:
        before.append(optax.add_decayed_weights(l2, mask))
    if l1:
        signs = optax.stateless(
            lambda updates, params: jax.tree.map(lambda u, p: u + l1 * jnp.sign(p), updates, params)
        )
        before.append(optax.masked(signs, mask) if mask else signs)
    after = optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity()
    return Decay(optax.chain(*before), after)


def kernels(params: Params) -> Params:
    """True at the weights of convolutions and products, False at biases, norms and embeddings."""

    def is_kernel(path: tuple[Any, ...], _: Any) -> bool:
        return getattr(path[-1], "key", "") == "kernel"

    return jax.tree_util.tree_map_with_path(is_kernel, params)
