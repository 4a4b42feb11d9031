"""Compare several models under one budget and several seeds, or go on with a comparison.

    cnn compare --config=configs/mnist5k/cnn_vs_vit.py --workdir=runs/cmp
    cnn compare --config=configs/mnist5k/cnn_vs_vit.py:demo --workdir=runs/demo --processes=2

The config is one of a training with a section `compare`: models and what each changes, seeds, the
budget (steps, images, macs or seconds of each training), shares of the training set, changes of the
evaluation's images. Any value can be set: --config.compare.seeds="(0,1,2,3,4)",
--config.compare.budget.kind=macs --config.compare.budget.amount=1e12, and
--config.compare.models.vit.optimizer.learning_rate=0.002 where the recipe has that key.

Each training is that of cnn train in a workdir of its own, runs/MODEL/SHARE/seedN, so cnn report,
cnn evaluate and cnn predict work on it. The same command goes on where it was stopped; runs that
are done are left alone, and more seeds, models or shares add theirs.

The workdir gets report.html (one page, offline), tables/*.csv with every table and the data of
every figure, and comparison.json with all of that and the summary. Two comparisons with the same
config on the same machine give the same tables, but for columns and figures of seconds.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cnn.errors import UserError

if TYPE_CHECKING:
    from cnn.compare.budget import Group

TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the comparison")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where all of it is kept")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="models that train at a time, on CPUs, each on its share of the cores; default 1",
    )


def run(args: argparse.Namespace) -> int:
    """Trains what is missing, analyses and reports; 128 + n when signal n stopped it."""
    from cnn.cli import config_file, workdir

    if args.processes < 1:
        raise UserError(f"--processes must be at least 1, got {args.processes}")
    config = config_file.read(args.config, args.overrides)
    directory = pathlib.Path(args.workdir)
    workdir.check_writable(directory)
    from cnn.cli import train
    from cnn.compare import budget, plan_file, runner, settings

    comparison = settings.read(config)
    _check_processes(args.processes, comparison.budget.kind)
    begin = workdir.start_jax
    begin()
    step_seconds = plan_file.remembered(directory, budget.measure_step_seconds)
    groups = budget.plan(comparison, step_seconds)
    job = runner.Job(comparison, directory, begin, train.carry_out, _note)
    runner.check_lengths(job, groups)
    plan_file.write(directory, comparison, groups, workdir.program())
    _show(groups, len(comparison.seeds))
    code = runner.run_groups(job, groups, processes=args.processes)
    if code:
        print(f"stopped by signal {code - 128}; the same command goes on")
        return code
    return _report(directory)


def _check_processes(processes: int, kind: str) -> None:
    if processes == 1:
        return
    if kind == "seconds":
        raise UserError(
            "trainings of equal seconds (compare.budget.kind) need the machine for themselves; "
            "leave --processes at 1"
        )
    import jax

    if jax.default_backend() != "cpu":
        raise UserError(
            f"--processes={processes} is for CPUs; on {jax.default_backend()} trainings follow "
            "each other, leave it at 1"
        )


def _note(text: str) -> None:
    # At once, also from a child and into a pipe.
    print(text, flush=True)


def _show(groups: Sequence[Group], num_seeds: int) -> None:
    from cnn.report import text

    quantity: Callable[[float], str] = text.quantity
    for group in groups:
        share = "" if group.fraction == 1 else f" on {group.fraction:g} of the data"
        _note(
            f"{group.model}{share}: {num_seeds} x {group.num_steps:,} steps of {group.batch_size}, "
            f"{quantity(group.parameters)} parameters, {quantity(group.macs)} MACs an image"
        )


def _report(directory: pathlib.Path) -> int:
    from cnn.compare import analysis, plan_file, summary
    from cnn.report import comparison

    plan = plan_file.read(directory)
    tables: dict[str, Any] = analysis.tables(analysis.load(directory, plan), plan.image_size)
    sentences = summary.summary(tables, plan.budget)
    path = comparison.write_report(
        directory, tables, sentences, budget=plan.budget, about=plan.about
    )
    print("\n".join(sentences))
    print(f"report: {path}")
    return 0
