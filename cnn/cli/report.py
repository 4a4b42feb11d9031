"""Write a run's report.html again, from what its workdir holds; needs no device.

cnn report --workdir=runs/lenet5
"""

from __future__ import annotations

import argparse
import pathlib

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--workdir", required=True, metavar="DIR", help="a run of cnn train")


def run(args: argparse.Namespace) -> int:
    """Writes the page and prints its path."""
    from cnn.cli import workdir
    from cnn.report import evaluation
    from cnn.report.html import write_report

    directory = pathlib.Path(args.workdir)
    workdir.read_config(directory)
    print(f"report: {write_report(directory, evaluation=evaluation.load(directory))}")
    return 0
