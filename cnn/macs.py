"""How many multiply-accumulates a function takes, counted on its jaxpr: what papers call FLOPs.

Convolutions and matrix products count, element-wise work, norms and pooling do not, as in the
tables of the papers and of torchvision. Products with the zeros of a padding count; those with the
zeros that a transposed convolution puts between pixels do not.
"""

import functools
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
from jax.extend import core

from cnn.ops import formulation


def count(function: Callable[..., Any], *args: Any) -> int:
    """The multiply-accumulates of one call, without computing anything.

    Both operations of a product and sum are one; the compiler's own counts are about twice that.
    Of a branch that is chosen at run time, the most expensive alternative counts.

    Args:
        function: Of arrays, as `jax.jit` takes it.
        *args: Its arguments: arrays, or their `jax.ShapeDtypeStruct`s.

    Raises:
        ValueError: If a product is inside a loop whose number of turns is known only at run time.
    """
    return count_traced(jax.make_jaxpr(function)(*args))


def count_traced(program: core.ClosedJaxpr) -> int:
    """As `count`, of what `jax.make_jaxpr` made or `jax.jit` traced."""
    return _of_jaxpr(program.jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> int:
    primitive, params = equation.primitive, equation.params
    if primitive is core.primitives.conv_general_dilated_p:
        return _of_convolution(equation)
    if primitive is core.primitives.dot_general_p:
        (contracted, _), _ = params["dimension_numbers"]
        shape = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(shape[a] for a in contracted)
    stock = formulation.stock_of(primitive)
    if stock is not None:
        # Other formulations may take more, as products with zeros, or hide them in sums.
        return _of_formulation(stock, params["spec"], *(v.aval for v in equation.invars))
    inner = [_of_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if primitive is core.primitives.cond_p:
        return max(inner)
    if primitive is core.primitives.while_p and any(inner):
        raise ValueError("products inside a while loop: how often it turns is not in the program")
    turns = 1
    if primitive is core.primitives.scan_p:
        turns = params["length"]
    elif primitive.name == "shard_map":
        turns = params["mesh"].size
    return turns * sum(inner)


@functools.lru_cache(maxsize=4096)
def _of_formulation(stock: formulation.Formulation, spec: Hashable, *avals: Any) -> int:
    return count(functools.partial(stock, spec=spec), *avals)


def _of_convolution(equation: core.JaxprEqn) -> int:
    """Every pixel of the output takes one for each weight that makes it.

    With zeros between the pixels of the input, a transposed convolution, every pixel of the input
    meets each weight once.
    """
    params = equation.params
    image, kernel = (_shape(variable) for variable in equation.invars)
    result = _shape(equation.outvars[0])
    numbers = params["dimension_numbers"]
    weights = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    if math.prod(params["lhs_dilation"]) == 1:
        return math.prod(result) * weights
    batch_and_features = math.prod(result[axis] for axis in numbers.out_spec[:2])
    return batch_and_features * math.prod(image[axis] for axis in numbers.lhs_spec[2:]) * weights


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in jax.tree.leaves(
        params, is_leaf=lambda leaf: isinstance(leaf, core.Jaxpr | core.ClosedJaxpr)
    ):
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
