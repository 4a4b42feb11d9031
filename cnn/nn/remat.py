"""Activations computed again in the backward pass instead of kept: time for memory.

Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen
from jax.extend.core import Primitive, primitives
from jaxtyping import PyTree

from cnn.nn.family import choose
from cnn.ops import convolution, fully_connected

_PRODUCTS = (
    primitives.dot_general_p,
    primitives.conv_general_dilated_p,
    *convolution.PRODUCTS,
    *fully_connected.PRODUCTS,
)


def _keep_products(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive in _PRODUCTS


_POLICIES = {
    "none": jax.checkpoint_policies.everything_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": _keep_products,
}


def remat(
    mode: str, block: linen.Module, method: Callable[..., PyTree] | None = None
) -> Callable[..., PyTree]:
    """A block whose activations are not all kept for the backward pass; the numbers are the same.

    Args:
        mode: `none` keeps all, `block` only the block's input, `dots` also the results of matrix
            products and convolutions, which are what costs time to compute again.
        block: Called as `block(x, train=train)`, with any pytree of arrays.
        method: Called as `method(block, x, train=train)` in its place: of a family whose layers are
            no modules of their own.

    Raises:
        UserError: If there is no such mode.
    """
    policy = choose("remat", mode, _POLICIES)
    call = method or type(block).__call__
    if mode == "none":
        return functools.partial(call, block)

    def call_again(x: PyTree, *, train: bool) -> PyTree:
        # `train` is closed over: linen's lifted function would trace it.
        run = linen.remat(lambda block, x: call(block, x, train=train), policy=policy)
        return run(block, x)

    return call_again
