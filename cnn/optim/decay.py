"""What pulls parameters to zero: coupled L2 and L1, decoupled weight decay, and what is spared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn.core import Params
from cnn.errors import check_not_negative, unknown
from cnn.optim.paths import Rules, by_path, check_matched, read_rules


class Decay(NamedTuple):
    """What pulls parameters to zero: `before` the optimizer's scaling, and `after` it."""

    before: optax.GradientTransformation
    after: optax.GradientTransformation


def make_decay(
    *, weight_decay: float, l2: float, l1: float, apply_to: str, factors: Sequence[str] = ()
) -> Decay:
    """Penalties on the parameters; 0 means none.

    Args:
        weight_decay: Decoupled (Loshchilov and Hutter 2019, as AdamW in PyTorch): a step subtracts
            learning rate * weight_decay * parameter.
        l2: Coupled: the loss gains l2 / 2 * sum of squares, so the optimizer sees l2 * parameter.
        l1: Coupled: the loss gains l1 * sum of absolute values.
        apply_to: `kernels` leaves out biases, scales and embeddings; `all` leaves out nothing.
        factors: Rules "REGEX=NUMBER"; of those that match the end of a parameter's path the first
            counts. All penalties of that parameter are multiplied by the number, whatever
            `apply_to` says of it: "position_embedding=1", "logits/kernel=0".

    Raises:
        UserError: For a negative penalty, an unknown `apply_to`, or a rule that cannot be read, or,
            when the optimizer is given its parameters, that matches none of them.
    """
    check_not_negative("regularization", weight_decay=weight_decay, l2=l2, l1=l1)
    if apply_to not in ("kernels", "all"):
        raise unknown("value of regularization.apply_to", apply_to, ("kernels", "all"))
    if factors:
        rules = read_rules("regularization.factors", factors)
        strengths = functools.partial(_strengths, rules, apply_to == "all")
        before = [_pull(l2, strengths, rules), _pull(l1, strengths, rules, of=jnp.sign)]
        return Decay(optax.chain(*before), _pull(weight_decay, strengths, rules))
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


def _strengths(rules: Rules, everything: bool, params: Params) -> Params:
    """What the penalties of each parameter are multiplied by."""
    others = jax.tree.map(lambda is_kernel: float(everything or is_kernel), kernels(params))
    return by_path(rules, params, others)


def _pull(
    penalty: float,
    strengths: Callable[[Params], Params],
    rules: Rules,
    of: Callable[[Any], Any] = lambda param: param,
) -> optax.GradientTransformation:
    """Adds `penalty` times the strength times a function of the parameter."""

    def init(params: Params) -> optax.OptState:
        check_matched("regularization.factors", rules, params)
        return optax.EmptyState()

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        def pulled(update: Any, param: Any, strength: float) -> Any:
            return update + penalty * strength * of(param) if penalty * strength else update

        return jax.tree.map(pulled, updates, params, strengths(params)), state

    return optax.GradientTransformation(init, update)
