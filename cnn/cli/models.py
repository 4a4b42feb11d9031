"""List the models that there are: name, parameters, input size, paper.

cnn models --filter=resnet
"""

from __future__ import annotations

import argparse
import fnmatch

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--filter", default="", metavar="TEXT", help="names with it; * and ? work")


def run(args: argparse.Namespace) -> int:
    """Prints the table; 2 if no name fits."""
    from rich.console import Console
    from rich.table import Table

    from cnn import models
    from cnn.errors import unknown

    pattern = args.filter if any(sign in args.filter for sign in "*?[") else f"*{args.filter}*"
    names = [name for name in models.names() if fnmatch.fnmatch(name, pattern)]
    if not names:
        raise unknown("model", args.filter, models.names())
    table = Table("name", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("input")
    table.add_column("paper", overflow="fold")
    for name in names:
        info = models.describe(name)
        table.add_row(
            name,
            f"{info.parameters:,}",
            f"{info.image_size}x{info.image_size}x{info.channels}",
            f"{info.paper} ({info.year})",
        )
    screen = Console()
    # A pipe has no width of its own; a row stays a line there.
    (screen if screen.is_terminal else Console(width=160)).print(table)
    return 0
