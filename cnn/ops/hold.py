"""Values that a CPU computes once and keeps, where its compiler would compute them again or copy.

XLA fuses whatever is elementwise into each of its users, which saves memory traffic on accelerators
and does on a CPU; but on a CPU the users are many and the loops not all vectorised.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree, Shaped

from cnn.ops.formulation import is_stock


def hold(values: PyTree[Shaped[Array, "..."]]) -> PyTree[Shaped[Array, "..."]]:
    """The same values, on a CPU all of them computed before any is used; elsewhere nothing.

    Tangents and cotangents are not held.
    """
    leaves, structure = jax.tree.flatten(values)
    if is_stock() or not leaves:
        return values
    return structure.unflatten(_HOLD.bind(*leaves))


def _same(*values: Any) -> Sequence[Any]:
    return values


def _jvp(values: Sequence[Any], tangents: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    return _HOLD.bind(*values), tangents


def _batch(values: Sequence[Any], axes: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    return _HOLD.bind(*values), axes


_HOLD = Primitive("hold")
_HOLD.multiple_results = True
_HOLD.def_impl(_same)
_HOLD.def_abstract_eval(_same)
ad.primitive_jvps[_HOLD] = _jvp
batching.primitive_batchers[_HOLD] = _batch
mlir.register_lowering(_HOLD, mlir.lower_fun(_same, multiple_results=True))
mlir.register_lowering(
    _HOLD,
    mlir.lower_fun(lambda *values: lax.optimization_barrier(values), multiple_results=True),
    platform="cpu",
)
