"""Run rows of the ledger and add their results: published numbers beside ours.

    cnn reproduce lenet/lenet5 --config.data.root=mnist.npz
    cnn reproduce resnet --seeds=0 --workdir=/data/runs --config.data.root=DIR
    cnn reproduce --smoke                  # every row's whole path in seconds, on made-up images

PAPER is a directory of experiments/, ROW a row of its paper.toml; without it all rows of the paper
run. Each seed is a training of cnn train in WORKDIR/PAPER/ROW/seedN: the same command goes on where
it was stopped. A run that ends adds its line to experiments/PAPER/results.csv, and a short log; a
seed that is there already is left alone. cnn ledger render then writes the tables. Several
processes find each other as in cnn train on Slurm, Cloud TPU, GKE and Open MPI; the first adds.
A generator whose row names a classifier (features) is measured by it, which is trained first.

Of the config only what does not change the result can be set: --config.data.root=DIR,
--config.loader.num_threads=8, --config.parallel.mesh=fsdp:8.

--smoke keeps the recipe (optimizer, schedule, augmentation, moving average), shrinks images, batch
and times, takes the smallest network of the family, and adds nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnn.errors import UserError

if TYPE_CHECKING:
    from cnn.ledger.papers import Paper, Row
    from cnn.train import Outcome

TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("row", nargs="?", default="", metavar="PAPER[/ROW]", help="what to run")
    parser.add_argument("--seeds", metavar="N,N", help="of the row's; default all")
    parser.add_argument(
        "--workdir", default="runs/ledger", metavar="DIR", help="of all runs; default %(default)s"
    )
    parser.add_argument("--smoke", action="store_true", help="try the whole path, add nothing")
    parser.add_argument(
        "--experiments",
        default="experiments",
        metavar="DIR",
        help="the papers; config paths start above it; default %(default)s",
    )


def run(args: argparse.Namespace) -> int:
    """Runs what is missing; 128 + n when signal n stopped a training."""
    from cnn.ledger import papers

    root = pathlib.Path(args.experiments).resolve()
    if not args.row and not args.smoke:
        raise UserError("name a row: cnn reproduce PAPER[/ROW] (cnn reproduce --smoke tries all)")
    rows = papers.select(papers.read_all(root), args.row)
    if args.smoke:
        if args.seeds or args.overrides:
            raise UserError("--smoke takes neither seeds nor values of the config; leave them out")
        return _smoke(root, rows)
    jobs = [(paper, row, *_configs(root, row, args.overrides)) for paper, row in rows]
    seeds = {row.name: _seeds(row, args.seeds) for _, row in rows}
    _check_commit()
    from cnn.parallel import hosts

    hosts.connect()
    with hosts.together():
        for paper, row, config, features in jobs:
            directory = pathlib.Path(args.workdir) / paper.name / row.name
            code = _reproduce(paper, row, config, features, seeds[row.name], directory)
            if code:
                return code
    if hosts.leads():
        print("cnn ledger render writes the tables")
    return 0


def _seeds(row: Row, text: str | None) -> list[int]:
    if text is None:
        return list(row.seeds)
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds takes whole numbers parted by commas, got {text!r}") from error
    for seed in seeds:
        if seed not in row.seeds:
            raise UserError(
                f"{seed} is no seed of the row {row.name}, which has "
                f"{', '.join(map(str, row.seeds))}; add it to seeds in paper.toml first"
            )
    return seeds


def _configs(
    root: pathlib.Path, row: Row, overrides: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The row's config, with what the user says of how it is carried out, and its classifier's."""
    from cnn.cli import config_file
    from cnn.ledger import check, fingerprint

    config = check.build(root, row, config_file.read)
    path = str(root.parent / row.config)
    asked = config_file.read(path, [*row.words(), *overrides]) if overrides else config
    change = fingerprint.difference(config, asked, config)
    if change is not None:
        raise UserError(f"that would be another row than {row.name}: {change}; use cnn train")
    if asked["seed"] != config["seed"]:
        raise UserError("seeds are chosen by --seeds, not by --config.seed")
    return asked, check.build_features(root, row, config_file.read, overrides)


def _check_commit() -> None:
    from cnn.cli import workdir

    program = workdir.program()
    if program["commit"] is None or program["dirty"]:
        raise UserError(
            "a result names the commit it is of, and cnn/ or configs/ hold changes that no commit "
            "has; commit them first"
        )


def _reproduce(
    paper: Paper,
    row: Row,
    config: Mapping[str, Any],
    features: Mapping[str, Any] | None,
    seeds: Sequence[int],
    directory: pathlib.Path,
) -> int:
    from cnn.cli import workdir

    there = {result.seed for result in paper.of(row)}
    for seed in sorted(there.intersection(seeds)):
        print(f"{paper.name}/{row.name} seed {seed}: is in the ledger")
    missing = [seed for seed in seeds if seed not in there]
    if not missing:
        return 0
    for seed in missing:
        workdir.check_writable(directory / f"seed{seed}")
    workdir.start_jax()
    import jax

    from cnn import experiment as experiments
    from cnn.cli import train
    from cnn.ledger import entry, papers
    from cnn.parallel import hosts

    if features is not None and jax.process_count() > 1:
        raise UserError(f"{paper.name}/{row.name} is measured after its training: run one process")
    built = experiments.build(config)
    for seed in missing:
        where = directory / f"seed{seed}"
        outcome = train.carry_out(built.with_seed(seed), where)
        if outcome is not None and outcome.signal is not None:
            return 128 + outcome.signal
        if features is not None:
            outcome = _measure(where, features)
            if outcome is not None and outcome.signal is not None:
                return 128 + outcome.signal
        if not hosts.leads():
            continue
        # Read anew, since another process may have added a result meanwhile.
        result = entry.add(papers.read(paper.directory), row, where)
        print(f"{paper.name}/{row.name} seed {seed}: {row.metric} {result.value:g}, added")
    return 0


def _measure(workdir: pathlib.Path, features: Mapping[str, Any]) -> Outcome | None:
    """What `cnn evaluate --on=generation` finds, by a classifier that is trained where it is not.

    Returns:
        How the classifier's training ended, as `train.carry_out`; if stopped, nothing is measured.
    """
    from cnn import experiment as experiments
    from cnn.cli import evaluate, train
    from cnn.cli import workdir as workdirs
    from cnn.ledger import entry

    judge = workdir.parent / entry.FEATURES
    workdirs.check_writable(judge)
    outcome = train.carry_out(experiments.build(features), judge)
    if outcome is None or outcome.signal is None:
        parser = argparse.ArgumentParser()
        evaluate.add_arguments(parser)
        words = [f"--workdir={workdir}", "--on=generation", f"--features={judge}"]
        evaluate.run(parser.parse_args(words))
    return outcome


def _smoke(root: pathlib.Path, rows: Sequence[tuple[Paper, Row]]) -> int:
    """Tries each row, and goes on where one fails; 1 where one did."""
    from cnn.cli import workdir

    workdir.start_jax()
    failed = 0
    for paper, row in rows:
        began = time.monotonic()
        try:
            name = _try(root, row)
        except UserError as error:
            failed += 1
            print(f"{paper.name}/{row.name}: {error}", flush=True)
        else:
            seconds = time.monotonic() - began
            print(f"{paper.name}/{row.name}: whole path with {name}, {seconds:.1f} s", flush=True)
    print(f"{len(rows) - failed} of {len(rows)} rows ran; nothing was added")
    return 1 if failed else 0


def _try(root: pathlib.Path, row: Row) -> str:
    """Trains, evaluates, saves and reports the row made small; returns its model's name."""
    from cnn import experiment as experiments
    from cnn.cli import config_file, train, workdir
    from cnn.ledger import check, entry, smoke

    config = smoke.shrink(check.build(root, row, config_file.read))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        directory = pathlib.Path(name) / "seed0"
        workdir.check_writable(directory)
        outcome = train.carry_out(experiments.build(config), directory)
        features = check.build_features(root, row, config_file.read)
        if features is not None and (outcome is None or outcome.signal is None):
            outcome = _measure(directory, smoke.shrink(features))
        if outcome is not None and outcome.signal is not None:
            raise KeyboardInterrupt
        entry.value_of(row.metric, entry.records_of(directory), "the run")
    return config["model"]["name"]
