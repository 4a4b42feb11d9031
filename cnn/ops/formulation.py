"""Which formulation of an operation is taken: `lax`'s own, or one that is faster on a CPU.

An operation here is a primitive of JAX with two formulations in plain JAX. The choice is made when
the program is lowered, so one traced program may be compiled for a TPU on a machine without one.
Primitives rather than rules for derivatives (`jax.custom_vjp`), because those give up forward mode:
every derivative of an operation is again such an operation, of any order and in both modes.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from cnn.ops import onednn

Formulation = Callable[..., jax.Array]
"""Of the operation's arrays and, as the keyword `spec`, of what is static."""

_STOCK = contextvars.ContextVar("stock", default=False)
_FORMULATIONS: dict[Primitive, Formulation] = {}


@contextlib.contextmanager
def stock() -> Iterator[None]:
    """What is traced inside uses plain `lax` operations on every backend: to compare with them.

    Read while a function is traced: one that `jax.jit` has traced outside already stays as it was,
    so jit a new function (or another lambda) inside.
    """
    token = _STOCK.set(True)
    try:
        yield
    finally:
        _STOCK.reset(token)


def is_stock() -> bool:
    """Whether plain `lax` operations are asked for."""
    return _STOCK.get()


def formulated(
    name: str,
    *,
    stock: Formulation,
    cpu: Formulation,
    library: Formulation | None = None,
    by_example: bool = True,
) -> Primitive:
    """A primitive that is lowered to `library` or `cpu` on a CPU and to `stock` elsewhere.

    Its derivatives are for the caller to register.

    Args:
        name: Shown in a jaxpr.
        stock: Plain `lax` operations.
        cpu: The same function within rounding.
        library: The same again, where `onednn` serves; None if it never does.
        by_example: Whether the first array's and the result's first axis are examples, each for
            itself; then `jax.vmap` over the first array alone is a matter of more examples.
    """
    primitive = Primitive(name)
    primitive.def_impl(functools.partial(_run, primitive))
    primitive.def_abstract_eval(functools.partial(_abstract, stock))
    mlir.register_lowering(primitive, mlir.lower_fun(stock, multiple_results=False))
    lower_cpu = mlir.lower_fun(cpu, multiple_results=False)
    if library is not None:
        lower_cpu = _first_that_serves(mlir.lower_fun(library, multiple_results=False), lower_cpu)
    mlir.register_lowering(primitive, lower_cpu, platform="cpu")
    batching.primitive_batchers[primitive] = functools.partial(
        _batch, primitive, stock=stock, cpu=cpu, by_example=by_example
    )
    _FORMULATIONS[primitive] = stock
    return primitive


def _first_that_serves(library: Callable[..., Any], cpu: Callable[..., Any]) -> Callable[..., Any]:
    def lower(context: mlir.LoweringRuleContext, *operands: Any, spec: Hashable) -> Any:
        rule = library if onednn.serves(context) else cpu
        return rule(context, *operands, spec=spec)

    return lower


def stock_of(primitive: Primitive) -> Formulation | None:
    """The plain formulation of a primitive made here; None for every other."""
    return _FORMULATIONS.get(primitive)


def bind(primitive: Primitive, *arrays: jax.Array, spec: Hashable) -> jax.Array:
    """The operation, traced.

    Inside `jax.shard_map` arrays that all devices share are first marked as varying like the
    others, whose transpose is the sum over devices.
    """
    varying = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    axes = frozenset().union(*varying)
    aligned = [
        lax.pcast(array, tuple(axes - own), to="varying") if axes - own else array
        for array, own in zip(arrays, varying, strict=True)
    ]
    return primitive.bind(*aligned, spec=spec)


@functools.lru_cache(maxsize=4096)
def _abstract(stock: Formulation, *avals: Any, spec: Hashable) -> Any:
    return jax.make_jaxpr(functools.partial(stock, spec=spec))(*avals).out_avals[0]


@functools.cache
def _compiled(primitive: Primitive, spec: Hashable) -> Callable[..., jax.Array]:
    return jax.jit(lambda *arrays: primitive.bind(*arrays, spec=spec))


def _run(primitive: Primitive, *arrays: jax.Array, spec: Hashable) -> jax.Array:
    """Outside of `jax.jit`, as every operation of JAX is."""
    return _compiled(primitive, spec)(*arrays)


def _batch(
    primitive: Primitive,
    arrays: tuple[jax.Array, ...],
    axes: tuple[int | None, ...],
    *,
    spec: Hashable,
    stock: Formulation,
    cpu: Formulation,
    by_example: bool,
) -> tuple[jax.Array, int]:
    first, *others = axes
    if by_example and first is not None and all(axis is None for axis in others):
        x = jnp.moveaxis(arrays[0], first, 0)
        y = bind(primitive, x.reshape(-1, *x.shape[2:]), *arrays[1:], spec=spec)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    mapped = [
        jax.vmap(functools.partial(formulation, spec=spec), axes) for formulation in (cpu, stock)
    ]
    return lax.platform_dependent(*arrays, cpu=mapped[0], default=mapped[1]), 0
