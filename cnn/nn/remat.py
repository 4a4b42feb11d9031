"""Activations computed again in the backward pass instead of kept: time for memory.

Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen
from jax.extend.core import Primitive, primitives
from jaxtyping import Array, Float

from cnn.nn.family import choose
from cnn.ops.formulation import stock_of

_PRODUCTS = (primitives.dot_general_p, primitives.conv_general_dilated_p)


def _keep_products(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive in _PRODUCTS or stock_of(primitive) is not None


_POLICIES = {
    "none": jax.checkpoint_policies.everything_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": _keep_products,
}


def remat(mode: str, block: linen.Module) -> Callable[..., Float[Array, "..."]]:
    """A block whose activations are not all kept for the backward pass; the numbers are the same.

    Args:
        mode: `none` keeps all, `block` only the block's input, `dots` also the results of matrix
            products and convolutions, which are what costs time to compute again.
        block: Called as `block(x, train=train)`.

    Raises:
        UserError: If there is no such mode.
    """
    policy = choose("remat", mode, _POLICIES)
    if mode == "none":
        return block

    def call(x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        # `train` is closed over: linen's lifted function would trace it.
        run = linen.remat(lambda block, x: block(x, train=train), policy=policy)
        return run(block, x)

    return call
