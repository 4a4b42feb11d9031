"""Activation functions by name, for fields that a config can set."""

import functools
from collections.abc import Callable

import jax
from flax import linen
from jaxtyping import Array, Float

from cnn.nn.family import choose

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_swish": jax.nn.hard_swish,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "scaled_tanh": lambda x: 1.7159 * linen.tanh(2 / 3 * x),
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "tanh": linen.tanh,
}


def activation(name: str) -> Activation:
    """The activation of that name; `gelu` is the exact one, `leaky_relu` has slope 0.01.

    `scaled_tanh` is 1.7159 tanh(2 x / 3), which is 1 at 1 and -1 at -1: LeCun et al. 1998,
    "Gradient-based learning applied to document recognition", appendix A.

    Raises:
        UserError: If there is none of that name.
    """
    return choose("activation", name, _ACTIVATIONS)
