"""Train elsewhere, or in several processes, or a sweep: by engines that exist.

    cnn launch --on=local --processes=2 --devices=4 --config=FILE.py --workdir=runs/two
    cnn launch --on=local --sweep='optimizer.learning_rate=1e-3,3e-3;seed=0,1' --config=...
    cnn launch --on=slurm --nodes=2 --gpus_per_node=8 --time=12:00:00 --config=...
    cnn launch --on=skypilot --accelerators=H100:8 --spot --workdir=gs://bucket/a --config=...
    cnn launch --on=tpu-vm --accelerator_type=v6e-16 --zone=us-east5-b --config=...

--dry_run prints what would be submitted and does nothing. Any value of the config can be set:
--config.SECTION.KEY=VALUE. A sweep trains all combinations, each in a directory below --workdir
that is named after what is set; values with commas in them are parted by "|":
parallel.mesh=data:8|data:4,fsdp:2. `cnn runs WORKDIR` lists what became of them.

A run that ends with 143 (SIGTERM, its state saved), 75 or 134 (another process was lost) is started
again and goes on from its newest checkpoint; SIGTERM or Ctrl-C to `cnn launch --on=local` ends it.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import sys
from typing import Any

from cnn.errors import UserError, unknown

TAKES_CONFIG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command; those of an engine are the fields of its class."""
    parser.add_argument("--on", required=True, metavar="ENGINE", help="local, slurm, skypilot, ...")
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the experiment")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the run, or above all")
    parser.add_argument("--sweep", metavar="TEXT", help="KEY=VALUE,VALUE;KEY=VALUE: all of them")
    parser.add_argument("--dry_run", action="store_true", help="print what would be submitted")
    parser.add_argument("--name", help="of the job; default the config's")
    parser.add_argument(
        "--max_restarts",
        type=int,
        default=20,
        metavar="N",
        help="of a run; %(default)s (SkyPilot: no limit)",
    )
    parser.add_argument("--deterministic", action="store_true", help="as in cnn train")
    _add_local(parser.add_argument_group("--on=local", "the runs of a sweep one after another"))
    _add_slurm(parser.add_argument_group("--on=slurm", "one task a node; an array for a sweep"))
    _add_cloud(
        parser.add_argument_group(
            "--on=skypilot and --on=tpu-vm",
            "copies of the current directory, a clone of the repository, with what is installed",
        )
    )


def _add_local(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--processes", type=int, metavar="N", help="of a run; default 1")
    group.add_argument("--devices", type=int, metavar="M", help="of a process; default all")
    group.add_argument("--platform", metavar="KIND", help="cpu (virtual devices) or cuda")


def _add_slurm(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--nodes", type=int, metavar="N", help="of a run; default 1; also SkyPilot's"
    )
    group.add_argument("--partition", metavar="NAME")
    group.add_argument("--time", metavar="HH:MM:SS", help="the limit, after which a run goes on")
    group.add_argument("--gpus_per_node", type=int, metavar="N")
    group.add_argument("--cpus_per_task", type=int, metavar="N")
    group.add_argument("--account", metavar="NAME")
    group.add_argument(
        "--notice_seconds", type=int, metavar="N", help="to save before the limit; default 120"
    )
    group.add_argument(
        "--sbatch", action="append", metavar="OPTION", help="another: --sbatch=--qos=high; repeat"
    )


def _add_cloud(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--accelerators", metavar="NAME:N", help="SkyPilot: H100:8, tpu-v6e-16, ...")
    group.add_argument("--infra", metavar="CLOUD/REGION", help="SkyPilot: where; default cheapest")
    group.add_argument(
        "--accelerator_type", metavar="NAME", help="tpu-vm: v6e-16, v5litepod-8, ..."
    )
    group.add_argument("--zone", metavar="NAME", help="tpu-vm: us-east5-b, ...")
    group.add_argument("--project", metavar="NAME", help="tpu-vm: default gcloud's own")
    group.add_argument("--runtime_version", metavar="NAME", help="tpu-vm: default by the type")
    group.add_argument("--spot", action="store_true", default=None, help="cheap, may be preempted")
    group.add_argument("--setup", metavar="COMMANDS", help="run on each machine before installing")


def run(args: argparse.Namespace) -> int:
    """Checks everything that can be checked here, then prints or submits."""
    from cnn.launch import ENGINES, Job
    from cnn.launch.job import make_runs

    if args.on not in ENGINES:
        raise unknown("engine", args.on, ENGINES)
    if args.max_restarts < 0:
        raise UserError(f"--max_restarts must be at least 0, got {args.max_restarts}")
    engine = ENGINES[args.on](**_fields(args, ENGINES))
    flags = ["--deterministic"] if args.deterministic else []
    points = _points(args)
    words = ["train", f"--config={args.config}", *args.overrides, *flags]
    runs = make_runs(args.workdir, words, points)
    plan = engine.plan(Job(_name(args), args.workdir, runs, args.max_restarts))
    if args.dry_run:
        sys.stdout.write(plan.text)
        return 0
    return plan.submit()


def _points(args: argparse.Namespace) -> list[dict[str, str]]:
    """What the runs set, once the config has taken it all."""
    from cnn.cli import config_file
    from cnn.cli.sweep import combinations

    points = list(combinations(args.sweep)) if args.sweep else [{}]
    for values in points:
        sets = [f"--config.{key}={value}" for key, value in values.items()]
        config_file.read(args.config, [*args.overrides, *sets])
    return points


def _fields(args: argparse.Namespace, engines: dict[str, Any]) -> dict[str, Any]:
    """The flags of the engine that were given.

    Raises:
        UserError: If one of another engine was.
    """
    known = {name: {f.name for f in dataclasses.fields(e)} for name, e in engines.items()}
    given = {
        name: getattr(args, name)
        for name in sorted(set().union(*known.values()))
        if getattr(args, name) is not None
    }
    for name in given:
        if name not in known[args.on]:
            others = ", ".join(engine for engine in known if name in known[engine])
            raise UserError(f"--{name} is a flag of --on={others}, not of --on={args.on}")
    return given


def _name(args: argparse.Namespace) -> str:
    """What clouds, too, take for a name."""
    name = args.name or f"cnn-{pathlib.Path(args.config.partition(':')[0]).stem}"
    if args.name and not re.fullmatch("[a-z][a-z0-9-]*", name):
        raise UserError(f"--name takes small letters, digits and '-', got {name!r}")
    return re.sub("[^a-z0-9-]+", "-", name.lower())
