"""Measure a run's checkpoint on its whole evaluation split; the report is written anew.

cnn evaluate --workdir=runs/lenet5
cnn evaluate --workdir=runs/lenet5 --best
cnn evaluate --workdir=runs/lenet5 --views=flip
"""

from __future__ import annotations

import argparse
import pathlib

TAKES_CONFIG = False
VIEWS_HELP = (
    "center, flip, translate or ten_crop: views of an image to average over; default as in training"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--workdir", required=True, metavar="DIR", help="a run of cnn train")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="this checkpoint; default the latest")
    which.add_argument("--best", action="store_true", help="the best by checkpoint.best_metric")
    parser.add_argument("--views", metavar="KIND", help=VIEWS_HELP)


def run(args: argparse.Namespace) -> int:
    """Restores, evaluates every example once, prints and reports."""
    from cnn.cli import workdir

    directory = pathlib.Path(args.workdir)
    config = workdir.read_config(directory)
    workdir.start_jax()
    from cnn import experiment as experiments

    experiment = experiments.build(workdir.for_reading(config, args.views))
    step, state = workdir.restore(directory, experiment, args.step, args.best)
    return workdir.examine(directory, experiment, state, step)
