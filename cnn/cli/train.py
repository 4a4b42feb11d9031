"""Train a model, or go on with the run that is in the workdir.

    cnn train --config=configs/mnist5k/lenet5.py --workdir=runs/lenet5

Any value of the config can be set: --config.SECTION.KEY=VALUE, for instance
--config.optimizer.learning_rate=0.05 or --config.parallel.strategy=pmap; configs/base.py lists
them all. --config.init.weights=FILE, hf:OWNER/NAME or the workdir of a run starts from its weights;
init.json then says what became of every array.

Ctrl-C and SIGTERM save a checkpoint and stop; the same command goes on from there. Exit codes: 143
after SIGTERM (a preemption) and 75 where another process of the run was lost, after both of which a
launcher should start all processes again; 130 after Ctrl-C; 2 for a mistake in what was given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.experiment import Experiment
    from cnn.pretrained.initialise import Initial
    from cnn.train import Outcome

TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the experiment")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where the run is kept")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="equal runs give equal bits on GPUs too, in slower steps; CPUs do so without",
    )
    several = parser.add_argument_group(
        "several processes", "found on Slurm, Cloud TPU, GKE and Open MPI; elsewhere give all three"
    )
    several.add_argument("--coordinator_address", metavar="HOST:PORT", help="of process 0")
    several.add_argument("--num_processes", type=int, metavar="N", help="1 looks for no others")
    several.add_argument("--process_id", type=int, metavar="I", help="of this one, from 0")


def run(args: argparse.Namespace) -> int:
    """Trains, examines the result and writes the report; 128 + n when signal n stopped it."""
    from cnn.cli import config_file, workdir

    config = config_file.read(args.config, args.overrides)
    directory = pathlib.Path(args.workdir)
    workdir.check_writable(directory)
    if args.deterministic:
        workdir.make_deterministic()
    from cnn.parallel import hosts

    hosts.connect(args.coordinator_address, args.num_processes, args.process_id)
    with hosts.together():
        return _train(config, directory, args.started)


def _train(config: Mapping[str, Any], directory: pathlib.Path, started: float) -> int:
    from cnn.cli import workdir

    workdir.start_jax()
    from cnn import experiment as experiments

    experiment = experiments.build(config)
    outcome = carry_out(experiment, directory, started)
    return 0 if outcome is None or outcome.signal is None else 128 + outcome.signal


def carry_out(
    experiment: Experiment, directory: pathlib.Path, started: float | None = None
) -> Outcome | None:
    """Trains, or goes on, and where that comes to its end examines and reports.

    Args:
        experiment: The parts of the run.
        directory: Its workdir.
        started: As for `cnn.train.train`.

    Returns:
        How it ended; None where it was finished before.

    Raises:
        UserError: As `cnn.train.train`, or if the directory holds a run of another config.
    """
    from cnn.cli import workdir
    from cnn.parallel import hosts
    from cnn.report import sessions

    leads = hosts.leads()
    workdir.check_same_config(directory, experiment)
    experiment.check_sizes()
    loop = experiment.loop
    if workdir.is_finished(directory, loop.num_steps):
        if leads:
            print(f"{directory} is finished: step {loop.num_steps:,}, nothing to do")
            print(f"report: {directory / 'report.html'}")
        return None
    initial = workdir.initial(directory, experiment)
    if leads:
        workdir.record(directory, experiment, initial)
    began = time.time() - (0 if started is None else time.monotonic() - started)
    with sessions.recorded(directory if leads else None, loop.num_steps, began) as session:
        outcome = _loop(experiment, directory, initial, started)
        session.step = outcome.step
        if outcome.signal is None:
            workdir.examine(directory, experiment, outcome.state, outcome.step)
        else:
            session.code = 128 + outcome.signal
    return outcome


def _loop(
    experiment: Experiment,
    directory: pathlib.Path,
    initial: Initial | None,
    started: float | None,
) -> Outcome:
    import rich.console

    from cnn import train
    from cnn.cli import workdir
    from cnn.parallel import hosts
    from cnn.report.console import Console

    loop = experiment.loop
    with contextlib.ExitStack() as stack:
        screen = None
        if not hosts.leads():
            screen = rich.console.Console(file=stack.enter_context(open(os.devnull, "w")))
        console = Console(
            loop.num_steps,
            experiment.steps_per_epoch,
            log_every_steps=loop.log_every_steps,
            screen=screen,
        )
        stack.enter_context(console)
        console.note(workdir.headline(experiment))
        if initial is not None:
            for note in (initial.report.headline(), *initial.report.notes):
                console.note(f"init: {note}")
        outcome = train.train(experiment, directory, console, initial=initial, started=started)
        if outcome.signal is not None:
            console.note(
                f"stopped by signal {outcome.signal} after step {outcome.step} of "
                f"{loop.num_steps}; the checkpoint is saved, the same command goes on"
            )
    return outcome
