"""Which formulation of an operation is taken: `lax`'s own, or one that is faster on a CPU."""

import contextlib
import contextvars
from collections.abc import Iterator

_STOCK = contextvars.ContextVar("stock", default=False)


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
