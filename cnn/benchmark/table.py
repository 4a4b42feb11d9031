"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn.benchmark.result import Line, NetworkLine, OperationLine, geometric_means
from cnn.benchmark.trace import Cost


def show(lines: Sequence[Line], screen: Console | None = None) -> None:
    """A table with a line a side, then the geometric means of the ratios."""
    networks = [line for line in lines if isinstance(line, NetworkLine)]
    operations = [line for line in lines if isinstance(line, OperationLine)]
    screen = screen or _screen()
    for table in (_networks(networks), _operations(operations)):
        if table.row_count:
            screen.print(table)
    for what, side, mean, count in geometric_means(lines):
        if count > 1:
            screen.print(
                f"{what}: time ours / {side}, geometric mean of {count}: {mean:.3f}",
                highlight=False,
            )


def show_costs(title: str, costs: Sequence[Cost], screen: Console | None = None) -> None:
    """The costliest operations of a step."""
    table = _table(f"{title}: HLO operation", "ms", "% of step", "calls")
    table.add_column("from", overflow="fold")
    for cost in costs:
        table.add_row(
            cost.operation,
            _number(cost.milliseconds),
            f"{cost.percent:.1f}",
            f"{cost.calls:g}",
            # Its brackets are no markup.
            escape(cost.source),
        )
    (screen or _screen()).print(table)


def _networks(lines: Sequence[NetworkLine]) -> Table:
    table = _table(
        "model",
        *("parameters", "MACs", "compile s", "warm", "step ms", "min", "quartiles"),
        *("images/s", "GFLOP/s", "% of matmul", "memory", "ours / this", "quartiles"),
    )
    for line in lines:
        ours = line.ratio is None
        table.add_row(
            f"{line.model} {line.mode}" if ours else f"  {line.side}",
            f"{line.parameters / 1e6:,.2f} M" if ours else "",
            f"{line.macs / 1e6:,.0f} M" if ours else "",
            _number(line.compile_cold_seconds),
            _number(line.compile_warm_seconds),
            _number(line.step_ms),
            _number(line.step_ms_min),
            _between(line.step_ms_q1, line.step_ms_q3),
            _number(line.images_per_second),
            _number(line.gflops),
            f"{line.matmul_percent:.0f}",
            "" if line.peak_bytes is None else f"{line.peak_bytes / 1e6:,.0f} MB",
            _number(line.ratio),
            _between(line.ratio_q1, line.ratio_q3),
        )
    return table


def _operations(lines: Sequence[OperationLine]) -> Table:
    table = _table("operation", "side", "ms", "min", "quartiles", "ours / this", "quartiles")
    for line in lines:
        table.add_row(
            f"{line.operation} {line.part}" if line.ratio is None else "",
            line.side,
            _number(line.ms),
            _number(line.ms_min),
            _between(line.ms_q1, line.ms_q3),
            _number(line.ratio),
            _between(line.ratio_q1, line.ratio_q3),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _screen() -> Console:
    screen = Console()
    # A pipe has no width of its own; a row stays a line there.
    return screen if screen.is_terminal else Console(width=180)


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{_number(low)}-{_number(high)}"


def _number(value: Any) -> str:
    """Three digits, or all those before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
