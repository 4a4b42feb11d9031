"""What pulls parameters to zero: coupled L2 and L1, decoupled weight decay, and what is spared."""

from __future__ import annotations

from collections.abc import Callable
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
        apply_to: `kernels` leaves out biases, scales and embeddings; `no_depthwise` depthwise
            kernels besides (MobileNet); `no_norms` only the scales and biases of norms
            (torchvision since 2021, TensorFlow's EfficientNet); `all` nothing.

    Raises:
        UserError: For a negative penalty or an unknown `apply_to`.
    """
    check_not_negative("regularization", weight_decay=weight_decay, l2=l2, l1=l1)
    if apply_to not in MASKS:
        raise unknown("value of regularization.apply_to", apply_to, MASKS)
    mask = MASKS[apply_to]
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


MASKS: dict[str, Callable[[Params], Params] | None] = {
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
