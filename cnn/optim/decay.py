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
        apply_to: `kernels` leaves out biases, scales and embeddings; `no_depthwise` depthwise
            kernels besides (MobileNet); `no_norms` only the scales and biases of norms
            (torchvision since 2021, TensorFlow's EfficientNet); `all` nothing.
        factors: Rules "REGEX=NUMBER"; of those that match the end of a parameter's path the first
            counts. All penalties of that parameter are multiplied by the number, whatever
            `apply_to` says of it: "position_embedding=1", "logits/kernel=0".

    Raises:
        UserError: For a negative penalty, an unknown `apply_to`, or a rule that cannot be read, or,
            when the optimizer is given its parameters, that matches none of them.
    """
    check_not_negative("regularization", weight_decay=weight_decay, l2=l2, l1=l1)
    if apply_to not in MASKS:
        raise unknown("value of regularization.apply_to", apply_to, MASKS)
    mask = MASKS[apply_to]
    if factors:
        rules = read_rules("regularization.factors", factors)
        strengths = functools.partial(_strengths, rules, mask)
        before = [_pull(l2, strengths, rules), _pull(l1, strengths, rules, of=jnp.sign)]
        return Decay(optax.chain(*before), _pull(weight_decay, strengths, rules))
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
    return _where(params, lambda layer, name: name == "kernel")


def no_depthwise(params: Params) -> Params:
    """True at the kernels that see more than one channel."""
    return _where(params, lambda layer, name: name == "kernel" and "depthwise" not in layer)


def no_norms(params: Params) -> Params:
    """False at the scales and biases of norms, True at all else, biases of layers included."""
    return _where(params, lambda layer, name: "norm" not in layer)


Mask = Callable[[Params], Params]

MASKS: dict[str, Mask | None] = {
    "kernels": kernels,
    "no_depthwise": no_depthwise,
    "no_norms": no_norms,
    "all": None,
}
"""What a penalty pulls, by `apply_to`: parameters -> the same tree of booleans."""


def _where(params: Params, chosen: Callable[[str, str], bool]) -> Params:
    """`chosen` of each parameter's layer and own name."""

    def of_path(path: tuple[Any, ...], _: Any) -> bool:
        keys = [str(getattr(entry, "key", "")) for entry in path]
        return chosen(keys[-2] if len(keys) > 1 else "", keys[-1])

    return jax.tree_util.tree_map_with_path(of_path, params)


def _strengths(rules: Rules, mask: Mask | None, params: Params) -> Params:
    """What the penalties of each parameter are multiplied by."""
    others = jax.tree.map(float, mask(params) if mask else jax.tree.map(lambda _: True, params))
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
