"""List the runs below a directory: state, step, last metric, goodput; the newest first.

    cnn runs runs
    cnn runs gs://bucket/runs --json                 # pip install -e '.[gcs]'

Goodput is the time of the steps that count by the time since the first start: queues, compiling,
evaluating, saving, waiting for data and steps that were lost and done again lower it.

States: waiting (launched, not begun), running, finished, preempted (SIGTERM, state saved),
interrupted (Ctrl-C, state saved), failed (with the error), killed (its process is gone without a
word), silent (no sign for half an hour from another machine), unknown (of an older version),
unreadable (with the reason).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn.report.runs import Row

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("directory", metavar="DIR", help="a run, or what runs are below")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated values, exact numbers")
    form.add_argument("--json", action="store_true", help="a list of JSON objects, exact numbers")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    from cnn.report import files, runs

    rows = runs.listed(args.directory)
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([runs.Row._fields, *rows])
    elif args.json:
        found = [row._asdict() for row in rows]
        for one in found:
            one["value"] = None if one["value"] is None else files.encode_float(one["value"])
        print(json.dumps(found, indent=1))
    elif rows:
        _print_table(rows)
    else:
        print(f"no runs below {args.directory}")
    return 0


def _print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "state", box=None, pad_edge=False)
    table.add_column("step", justify="right")
    table.add_column("last metric")
    table.add_column("goodput", justify="right")
    table.add_column("elapsed", justify="right")
    table.add_column("starts", justify="right")
    table.add_column("started")
    table.add_column("error", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    # Errors and paths are no markup. A pipe has no width of its own; a row stays a line there.
    screen = Console(markup=False, highlight=False)
    if not screen.is_terminal:
        screen.width = 180
    screen.print(table)


def _cells(row: Row) -> list[str]:
    from cnn.report import text

    total = f"/{row.num_steps:,}" if row.num_steps else ""
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)) if row.started else ""
    return [
        row.run,
        row.state,
        f"{row.step:,}{total}",
        "" if row.value is None else f"{row.metric} {text.number(row.value)}",
        "" if row.goodput is None else text.percent(row.goodput, decimals=1),
        "" if row.elapsed_seconds is None else text.duration(row.elapsed_seconds),
        str(row.starts),
        started,
        row.error,
    ]
