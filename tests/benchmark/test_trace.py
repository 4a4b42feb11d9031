from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from cnn.benchmark import trace


class Event(NamedTuple):
    name: str
    start_ns: float
    duration_ns: float
    stats: tuple = ()


class Line(NamedTuple):
    name: str
    events: list


class Plane(NamedTuple):
    name: str
    lines: list


def test_work_that_goes_on_in_other_threads_counts_until_its_end():
    begun = [
        Event("dot.1", 100.0, 5.0, (("hlo_op", "dot.1"), ("_p", 7))),
        Event("add.2", 300.0, 20.0, (("hlo_op", "add.2"), ("_p", 8))),
        Event("ThunkExecutor::Execute", 90.0, 400.0),
    ]
    ended = [
        Event("end: dot.1", 250.0, 1.0, (("_c", 7),)),
        Event("end: dot.1", 9000.0, 1.0, (("_c", 99),)),
    ]
    planes = [Plane("/host:CPU", [Line("worker/1", begun), Line("worker/2", ended)])]
    assert sorted(trace.durations(planes)) == [("add.2", 20.0), ("dot.1", 150.0)]


def test_an_accelerators_line_of_operations_is_taken_alone():
    device = Plane(
        "/device:TPU:0",
        [
            Line("XLA Modules", [Event("jit_step", 0.0, 1000.0)]),
            Line("XLA Ops", [Event("%fusion.3 = f32[8]{0} fusion(...)", 0.0, 10.0)]),
        ],
    )
    host = Plane("/host:CPU", [Line("x", [Event("copy", 0.0, 5.0, (("hlo_op", "copy"),))])])
    assert list(trace.durations([device, host])) == [("fusion.3", 10.0)]


def test_costliest_are_sums_by_step_with_their_source():
    program = """
      %dot.1 = f32[8]{0} dot(%a, %b), metadata={op_name="jit(step)/head/dot_general" id=3}
      ROOT %add.2 = f32[8]{0} add(%dot.1, %c)
    """
    found = [("dot.1", 3e6), ("dot.1", 1e6), ("add.2", 1e6)]
    found += [(f"small.{index}", 1.0) for index in range(20)]
    costs = trace.costliest(found, seconds=0.010, steps=2, program=program)
    assert len(costs) == trace.COSTLIEST
    assert costs[0] == ("dot.1", 2.0, 40.0, 1.0, "jit(step)/head/dot_general")
    assert costs[1] == ("add.2", 0.5, 10.0, 0.5, "")


def test_a_real_trace_names_the_operations_of_the_program(tmp_path):
    x = jnp.ones((300, 300))
    compiled = jax.jit(lambda x: jnp.sin(x @ x).sum()).lower(x).compile()
    costs = trace.record(
        lambda: jax.block_until_ready(compiled(x)),
        str(tmp_path),
        steps=3,
        program=compiled.as_text(),
    )
    assert list(tmp_path.rglob("*.xplane.pb"))
    dots = [cost for cost in costs if "dot_general" in cost.source]
    assert dots
    assert dots[0].calls == pytest.approx(1.0)
    assert dots[0].milliseconds > 0
