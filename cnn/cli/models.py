"""List the models that there are: name, task, parameters, MACs, input, paper and year.

    cnn models --filter=resnet
    cnn models --task=detection,segmentation
    cnn models --filter=convnext_tiny --image-size=384

Parameters are the trained ones: of a generator those of the network that makes the images, without
discriminator or encoder; of RetinaNet, Faster and Mask R-CNN without the norms of the backbone, as
torchvision counts. MACs are the multiply-accumulates of the convolutions and matrix products for
one image, which papers call FLOPs; of Fast R-CNN and R-CNN, for one proposal in it.

What cannot be counted at an --image-size is one line; the others still come, and the exit code is
2.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn.models import ModelInfo

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument(
        "--task",
        metavar="A,B",
        help="classification, segmentation, detection, generation; default all",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="names with it; * and ? work")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated values, exact numbers")
    form.add_argument("--json", action="store_true", help="a list of JSON objects, exact numbers")
    parser.add_argument(
        "--measure", action="store_true", help="count again instead of reading the kept table"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="PX", help="count for images of this height and width"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table; 2 if no name fits or something cannot be counted."""
    from cnn import models
    from cnn.errors import UserError, unknown

    if args.image_size is not None and args.image_size < 1:
        raise UserError(f"--image-size must be at least 1, got {args.image_size}")
    tasks = models.TASKS if args.task is None else args.task.split(",")
    known = [name for task in dict.fromkeys(tasks) for name in models.registered(task.strip())]
    pattern = args.filter if any(sign in args.filter for sign in "*?[") else f"*{args.filter}*"
    names = [name for name in known if fnmatch.fnmatch(name, pattern)]
    if not names:
        raise unknown("model", args.filter, known)
    rows = []
    for name in names:
        try:
            rows.append(_info(name, args))
        except UserError as error:
            sys.stderr.write(f"cnn: error: {name}: {error}\n")
    if rows:
        _print(rows, args)
    return 0 if len(rows) == len(names) else 2


def _info(name: str, args: argparse.Namespace) -> ModelInfo:
    from cnn import models

    if args.measure or args.image_size is not None:
        return models.measure(name, image_size=args.image_size)
    return models.describe(name)


def _print(rows: Sequence[ModelInfo], args: argparse.Namespace) -> None:
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([rows[0]._fields, *rows])
    elif args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
    else:
        _print_table(rows)


def _print_table(rows: Sequence[ModelInfo]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "task", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("MACs", justify="right")
    table.add_column("input")
    table.add_column("paper", overflow="fold")
    table.add_column("year")
    for row in rows:
        table.add_row(
            row.name,
            row.task,
            f"{row.parameters:,}",
            _in_millions(row.macs),
            f"{row.image_size}x{row.image_size}x{row.channels}",
            row.paper,
            str(row.year),
        )
    screen = Console()
    # A pipe has no width of its own; a row stays a line there.
    (screen if screen.is_terminal else Console(width=180)).print(table)


def _in_millions(macs: int) -> str:
    return f"{macs / 1e6:,.0f} M" if macs >= 1e8 else f"{macs / 1e6:,.2f} M"
