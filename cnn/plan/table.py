"""Plans on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cnn.plan.plan import Plan
from cnn.plan.sweep import Row, meets


def show(plan: Plan, deadline_hours: float | None) -> None:
    """Prints one plan, a line for each thing."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(plan, deadline_hours):
        table.add_row(name, value)
    _print(table)


def show_sweep(rows: Sequence[Row], best: int | None) -> None:
    """Prints a plan a row, the best marked."""
    keys = list(rows[0].values)
    columns = ["", *keys, "fits", "GB/chip", "ms/step", "bound by", "images/s", "hours", "USD"]
    table = Table(*columns, box=None, pad_edge=False)
    for index, row in enumerate(rows):
        mark = "*" if index == best else ""
        set_to = [row.values[key] for key in keys]
        if row.plan is None:
            table.add_row(mark, *set_to, row.error)
            continue
        table.add_row(mark, *set_to, *_cells(row.plan))
    _print(table)
    text = "* is the cheapest that fits and is in time"
    Console().print(text if best is not None else "nothing fits and is in time")


def _cells(plan: Plan) -> list[str]:
    return [
        _fits(plan),
        _in(plan.total_bytes, 1e9, ".2f"),
        _in(plan.step_seconds, 1e-3, ".1f"),
        plan.bound_by or "-",
        _in(plan.images_per_second, 1.0, ",.0f"),
        _in(plan.hours, 1.0, ".2f"),
        _in(plan.cost_usd, 1.0, ",.0f"),
    ]


def _lines(plan: Plan, deadline_hours: float | None) -> list[tuple[str, str]]:
    per_chip = f"{plan.batch_size // plan.num_chips:,} a chip"
    lines = [
        ("model", f"{plan.model}, {plan.dtype}, {plan.parameters:,} parameters"),
        ("topology", f"{plan.topology}: {plan.num_chips} chips, {plan.num_hosts or '?'} hosts"),
        ("batch", f"{plan.batch_size:,}, {per_chip}; {plan.num_steps:,} steps"),
        ("memory a chip", _memory(plan)),
    ]
    if plan.largest_batch_size is not None:
        lines.append(("largest batch", f"{plan.largest_batch_size:,}" if plan.largest_batch_size
                      else "none fits; shard the state or take more or larger chips"))  # fmt: skip
    if plan.flops is None:
        return lines
    lines += [
        ("compute", _limit(plan.flops, 1e12, "TFLOP", plan.compute_seconds)),
        ("memory", _limit(plan.bytes_accessed, 1e9, "GB accessed", plan.memory_seconds)),
        ("interconnect", _limit(plan.sent_bytes, 1e9, "GB sent", plan.interconnect_seconds)),
        *(
            (f"  {kind}", f"{one.calls:,} of {one.payload_bytes / 1e6:,.1f} MB together")
            for kind, one in plan.collectives.items()
        ),
        ("step", f"{_in(plan.step_seconds, 1e-3, '.2f')} ms at best, bound by {plan.bound_by}"),
        ("speed", f"{_in(plan.images_per_second, 1.0, ',.0f')} images/s at best"),
        (
            "training",
            f"{_in(plan.hours, 1.0, '.2f')} hours at best{_in_time(plan, deadline_hours)}",
        ),
        ("cost", _cost(plan)),
    ]
    if plan.is_estimate:
        lines.append(("estimate", "nothing was compiled: bytes and temporaries are upper bounds"))
    return lines


def _memory(plan: Plan) -> str:
    total = f"{_in(plan.total_bytes, 1e9, '.2f')} of {plan.hbm_bytes / 1e9:.2f} GB: {_fits(plan)}"
    if plan.argument_bytes is None:
        return f"{total} (the compiler refused)"
    parts = [
        f"{_in(size, 1e9, '.2f')} {name}"
        for name, size in (
            ("arguments", plan.argument_bytes),
            ("temporaries", plan.temporary_bytes),
            ("outputs", plan.output_bytes),
        )
    ]
    return f"{total} ({', '.join(parts)})"


def _fits(plan: Plan) -> str:
    return {True: "fits", False: "does not fit", None: "may not fit"}[plan.fits]


def _in_time(plan: Plan, deadline_hours: float | None) -> str:
    if deadline_hours is None:
        return ""
    late = "meets" if meets(plan, deadline_hours) else "misses"
    return f", {late} the deadline of {deadline_hours:g}"


def _cost(plan: Plan) -> str:
    if plan.cost_usd is None:
        return "not known; say --price=USD of a chip for an hour"
    return (
        f"{plan.cost_usd:,.2f} USD at {plan.usd_per_chip_hour:.2f} a chip and hour "
        f"({plan.price_note})"
    )


def _limit(amount: float | int | None, unit: float, name: str, seconds: float | None) -> str:
    return f"{_in(amount, unit, ',.3f')} {name} a chip, {_in(seconds, 1e-3, '.2f')} ms"


def _in(value: float | int | None, unit: float, form: str) -> str:
    return "-" if value is None else format(value / unit, form)


def _print(table: Table) -> None:
    screen = Console()
    # A pipe has no width of its own; a row stays a line there.
    (screen if screen.is_terminal else Console(width=160)).print(table)
