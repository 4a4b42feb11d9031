"""Train a model, or go on with the run that is in the workdir.

    cnn train --config=configs/mnist5k/lenet5.py --workdir=runs/lenet5

Any value of the config can be set: --config.SECTION.KEY=VALUE, for instance
--config.optimizer.learning_rate=0.05 or --config.parallel.strategy=pmap; configs/base.py lists
them all. --config.init.weights=FILE, hf:OWNER/NAME or the workdir of a run starts from its weights;
init.json then says what became of every array. Ctrl-C and SIGTERM save a checkpoint and stop; the
same command goes on from there.
"""

from __future__ import annotations

import argparse
import pathlib

TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the experiment")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where the run is kept")


def run(args: argparse.Namespace) -> int:
    """Trains, examines the result and writes the report; 128 + n when signal n stopped it."""
    from cnn.cli import config_file, workdir

    config = config_file.read(args.config, args.overrides)
    directory = pathlib.Path(args.workdir)
    workdir.check_writable(directory)
    workdir.start_jax()
    from cnn import experiment as experiments
    from cnn import train
    from cnn.report.console import Console

    experiment = experiments.build(config)
    workdir.check_same_config(directory, experiment)
    experiment.check_sizes()
    loop = experiment.loop
    if workdir.is_finished(directory, loop.num_steps):
        print(f"{directory} is finished: step {loop.num_steps:,}, nothing to do")
        print(f"report: {directory / 'report.html'}")
        return 0
    initial = workdir.initial(directory, experiment)
    workdir.record(directory, experiment, initial)
    with Console(
        loop.num_steps, experiment.steps_per_epoch, log_every_steps=loop.log_every_steps
    ) as console:
        console.note(workdir.headline(experiment))
        if initial is not None:
            for note in (initial.report.headline(), *initial.report.notes):
                console.note(f"init: {note}")
        outcome = train.train(experiment, directory, console, initial=initial, started=args.started)
        if outcome.signal is not None:
            console.note(
                f"stopped by signal {outcome.signal} after step {outcome.step} of "
                f"{loop.num_steps}; the checkpoint is saved, the same command goes on"
            )
            return 128 + outcome.signal
    return workdir.examine(directory, experiment, outcome.state, outcome.step)
