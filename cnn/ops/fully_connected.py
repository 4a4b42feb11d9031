"""The product of a fully connected layer."""

import functools
from typing import Any

import jax
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from cnn.ops import formulation, onednn, products

Matrix = Float[Array, "_ _"]


def dense(
    x: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs features"],
    dimension_numbers: lax.DotDimensionNumbers | None = None,
    **options: Any,
) -> Float[Array, "*batch features"]:
    """X @ kernel, whose gradient by the kernel is `onednn`'s where that serves.

    Args:
        x: The inputs.
        kernel: The weights.
        dimension_numbers: Those of this product; there so that linen's `dot_general` may be this.
        **options: Of `lax.dot_general`; with any of them it is what runs, unchanged.
    """
    last = x.ndim - 1
    numbers = (((last,), (0,)), ((), ()))
    if dimension_numbers not in (None, numbers):
        raise ValueError(f"a dense product has the dimension numbers {numbers}")
    if formulation.is_stock() or x.ndim < 2 or any(options.values()):
        return lax.dot_general(x, kernel, numbers, **options)
    y = formulation.bind(_DENSE, x.reshape(-1, x.shape[-1]), kernel, spec=None)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _forward(x: Matrix, kernel: Matrix, *, spec: None) -> Matrix:
    del spec
    return lax.dot_general(x, kernel, (((1,), (0,)), ((), ())))


def _kernel_gradient(x: Matrix, g: Matrix, *, spec: None) -> Matrix:
    del spec
    return products.transposed_product(x, g)


def _by_library(x: Matrix, g: Matrix, *, spec: None) -> Matrix:
    del spec
    return onednn.transposed_product(x, g)


_DENSE = formulation.formulated("dense", stock=_forward, cpu=_forward)
_KERNEL_GRADIENT = formulation.formulated(
    "dense_kernel_gradient",
    stock=_kernel_gradient,
    cpu=_kernel_gradient,
    library=_by_library,
    by_example=False,
)

PRODUCTS = (_DENSE, _KERNEL_GRADIENT)
"""The primitives."""

_dense, _kernel = (functools.partial(formulation.bind, primitive) for primitive in PRODUCTS)
ad.defbilinear(
    _DENSE,
    lambda g, x, kernel, spec: _dense(g, jax.numpy.swapaxes(kernel, 0, 1), spec=spec),
    lambda g, x, kernel, spec: _kernel(x, g, spec=spec),
)
ad.defbilinear(
    _KERNEL_GRADIENT,
    lambda kernel, x, g, spec: _dense(g, jax.numpy.swapaxes(kernel, 0, 1), spec=spec),
    lambda kernel, x, g, spec: _dense(x, kernel, spec=spec),
)
