"""An estimate for GPUs, counted on the program before any compiler has seen it.

Multiply-accumulates are exact. Bytes are what operations read and write if none is fused with
another, temporaries what such a program keeps: upper bounds, of the real ones often several times.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core

from cnn import macs
from cnn.core import all_params
from cnn.ops import formulation
from cnn.plan.costs import Costs, Memory
from cnn.plan.hlo import Traffic
from cnn.plan.program import Step


def estimate(step: Step, num_chips: int, chips_per_host: int) -> Costs:
    """What the step takes on each of so many cards, with all gradients summed over them.

    Args:
        step: Of one card's part of the batch, on one device.
        num_chips: Over which the batch is cut.
        chips_per_host: Of a full host.
    """
    state, _, batch, _ = step.args
    with formulation.stock():
        # Here nothing was traced before, so the operations are those of a GPU, not a CPU's.
        traced = jax.jit(step.function).trace(*step.args)
    cost: Any = traced.lower().cost_analysis()
    # Counts take the body of a loop once, and the parts of a batch are a loop.
    turns = step.experiment.config["task"]["accumulate_steps"]
    gradients = _bytes_of(all_params(state))
    sent = 2 * gradients * (num_chips - 1) / num_chips
    return Costs(
        Memory(_bytes_of((state, batch)), most_alive(traced.jaxpr.jaxpr), 0),
        2.0 * macs.count_traced(traced.jaxpr),
        turns * cost["bytes accessed"],
        {"all-reduce": Traffic(1, gradients, sent)} if num_chips > 1 else {},
        num_hosts=-(-num_chips // chips_per_host),
        is_estimate=True,
    )


def most_alive(jaxpr: core.Jaxpr) -> int:
    """The most bytes of results that are still needed, in the order of the program."""
    ends = {}
    for index, equation in enumerate(jaxpr.eqns):
        results = dict.fromkeys(equation.outvars, index)
        ends |= results | {
            v: index for v in equation.invars if isinstance(v, core.Var) and v in ends
        }
    for variable in jaxpr.outvars:
        if isinstance(variable, core.Var):
            ends.pop(variable, None)
    frees = collections.defaultdict(int)
    for variable, index in ends.items():
        frees[index] += _size(variable.aval)
    alive, most = 0, 0
    for index, equation in enumerate(jaxpr.eqns):
        alive += sum(_size(variable.aval) for variable in equation.outvars)
        most = max(most, alive + max(map(most_alive, _inner(equation)), default=0))
        alive -= frees[index]
    return most


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in jax.tree.leaves(
        equation.params, is_leaf=lambda leaf: isinstance(leaf, core.Jaxpr | core.ClosedJaxpr)
    ):
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _size(aval: Any) -> int:
    return math.prod(aval.shape) * aval.dtype.itemsize


def _bytes_of(tree: Any) -> int:
    return sum(map(_size, jax.tree.leaves(tree)))
