"""What the operations of a compiled program cost, by the profiler's trace."""

from __future__ import annotations

import collections
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax

from cnn.errors import UserError

COSTLIEST = 10
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*op_name="([^"]*)"', re.MULTILINE)


class Cost(NamedTuple):
    """One HLO operation.

    Attributes:
        operation: Its name in the compiled program.
        milliseconds: Of a step; an operation that calls others includes them, and some may run at
            the same time as others.
        percent: Of the step.
        calls: In a step.
        source: Where it comes from: the path of modules and the operation that was traced.
    """

    operation: str
    milliseconds: float
    percent: float
    calls: float
    source: str


def record(run: Callable[[], object], directory: str, *, steps: int, program: str) -> list[Cost]:
    """Traces some calls and returns the costliest operations, the dearest first.

    Args:
        run: One step; waits for its end.
        directory: Where the trace is left, for TensorBoard, XProf or Perfetto.
        steps: How many.
        program: Text of the compiled program, which says where operations come from.

    Raises:
        UserError: If the profiler left no trace.
    """
    with jax.profiler.trace(directory):
        began = time.perf_counter()
        for _ in range(steps):
            run()
        seconds = time.perf_counter() - began
    files = sorted(
        pathlib.Path(directory).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime
    )
    if not files:
        raise UserError(f"the profiler left no trace in {directory}")
    data = jax.profiler.ProfileData.from_file(str(files[-1]))
    return costliest(durations(data.planes), seconds=seconds, steps=steps, program=program)


def costliest(
    found: Iterable[tuple[str, float]], *, seconds: float, steps: int, program: str
) -> list[Cost]:
    """The `COSTLIEST` of (operation, nanoseconds) pairs, summed by operation."""
    total: dict[str, float] = collections.defaultdict(float)
    calls: collections.Counter[str] = collections.Counter()
    for name, nanoseconds in found:
        total[name] += nanoseconds
        calls[name] += 1
    sources = dict(_INSTRUCTION.findall(program))
    names = sorted(total, key=lambda name: -total[name])[:COSTLIEST]
    return [
        Cost(
            operation=name,
            milliseconds=total[name] / 1e6 / steps,
            percent=total[name] / 1e7 / seconds,
            calls=calls[name] / steps,
            source=sources.get(name, ""),
        )
        for name in names
    ]


def durations(planes: Iterable[Any]) -> Iterator[tuple[str, float]]:
    """(operation, nanoseconds) of each execution in a trace.

    An accelerator's plane has a line of operations. On a CPU an event only starts an operation,
    whose work may go on in other threads; an event `end: NAME` that names the same flow tells when
    it was done.
    """
    host: list[Any] = []
    on_device = False
    for plane in planes:
        for line in plane.lines:
            if plane.name.startswith("/device:") and line.name == "XLA Ops":
                on_device = True
                # The event's name may be the whole instruction: "%fusion.3 = f32[...] ...".
                yield from (
                    (event.name.partition(" = ")[0].lstrip("%"), event.duration_ns)
                    for event in line.events
                )
            elif line.name != "python":
                host.extend(line.events)
    if not on_device:
        yield from _on_host(host)


def _on_host(events: Iterable[Any]) -> Iterator[tuple[str, float]]:
    begun: list[tuple[str, Any, Any]] = []
    ended: dict[tuple[str, Any], float] = {}
    for event in events:
        stats = dict(event.stats)
        if "hlo_op" in stats:
            begun.append((event.name, stats.get("_p"), event))
        elif event.name.startswith("end: "):
            ended[event.name.removeprefix("end: "), stats.get("_c")] = event.start_ns
    for name, flow, event in begun:
        end = ended.get((name, flow), event.start_ns + event.duration_ns)
        yield name, max(end - event.start_ns, event.duration_ns)
