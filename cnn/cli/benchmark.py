"""Measure how fast networks, or single operations, are here, beside other ways to compute them.

    cnn benchmark --models=resnet50,vit_s_16 --batch_size=8 --size=224 --against=flax,torch
    cnn benchmark --models=dcgan,stylegan2_256 --mode=infer
    cnn benchmark --ops --against=flax
    cnn benchmark --op=conv:8x56x56x96,k7,g96 --op=max_pool:8x112x112x64,k3,s2,p1

A row is a network in a mode: a training step is that of cnn train (of the network's own task, SGD
with momentum, all devices) on a batch of noise. Each side of a row runs in a process of its own; in
each round every side runs once, in turns, so that ratios are of neighbours in time; the first step
of a turn is not counted.

A generator's training step is an update of each network that it is trained with: of wgan_gp with
the gradient penalty, of StyleGAN2 without penalties, as three steps of four are. Inference makes
images of latents, or translates; CycleGAN's goes both ways and back. Parameters and MACs are those
of the network that makes the images, GFLOP/s those of the whole step.

--against=flax is our network on plain lax operations; --against=torch is torchvision's or timm's,
eager, in the faster of contiguous and channels_last, with as many threads as JAX has cores; on a
CPU only, and it must be installed; it has no generators. "ours / this" is our time by the other's:
below 1 we win.

GFLOP/s are two for each multiply-accumulate, which are counted on the step's own program: a
training step is close to three forward passes. Compile seconds are tracing, lowering and compiling
with an empty cache, then in a new process with what the first one kept. Memory is the most during
steps: of the device, on a CPU of the whole process.

An operation is KIND:BATCHxHEIGHTxWIDTHxCHANNELS,LETTERS, KIND conv, max_pool or avg_pool; letters:
k kernel (3 or 3x5), f features, s stride, p padding (default half the kernel, of pooling 0),
d dilation, g groups. forward, dx and dw (the gradients by images and kernel) are rows.

What cannot be measured (an unknown model, too little memory, no torch) is one line; the other rows
still come, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnn.benchmark.job import DTYPES, MODES, OPERATIONS, SIDES, Network, Operation, parse
from cnn.errors import UserError, unknown

if TYPE_CHECKING:
    from cnn.benchmark.measure import Settings

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--models", metavar="A,B", help="networks of any task; cnn models lists them")
    what.add_argument("--ops", action="store_true", help="operations that are slow in stock JAX")
    what.add_argument("--op", action="append", metavar="SPEC", help="this operation; may repeat")
    parser.add_argument("--mode", default="train,infer", help="train, infer; default both")
    parser.add_argument("--batch_size", type=int, default=8, metavar="N", help="default 8")
    parser.add_argument("--size", type=int, metavar="PX", help="of images; default the paper's")
    parser.add_argument("--dtype", default="float32", help=f"{', '.join(DTYPES)}")
    parser.add_argument(
        "--against",
        metavar="A,B",
        help="flax, torch; default none; of operations both, torch only if installed",
    )
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="default 10")
    parser.add_argument(
        "--output", metavar="DIR", help="results.csv, results.json, benchmark.svg (operations.*)"
    )
    parser.add_argument(
        "--profile", action="store_true", help="the ten costliest HLO operations; DIR/trace"
    )


def run(args: argparse.Namespace) -> int:
    """Measures, shows and writes; 2 if something could not be measured."""
    _check(args)
    complaints: list[str] = []

    def complain(text: str) -> None:
        complaints.append(text)
        sys.stderr.write(f"cnn: error: {text}\n")

    jobs = _networks(args, complain) if args.models is not None else _operations(args)
    against = _against(args, complain)
    if not jobs:
        return 2
    from cnn.benchmark import measure
    from cnn.cli import workdir

    if args.output:
        workdir.check_writable(pathlib.Path(args.output), flag="--output")
    with measure.Worker("", measure.OURS) as worker:
        machine = worker.machine()
    if "torch" in against and machine["platform"] != "cpu":
        complain(f"--against=torch is for CPUs, and JAX is on {machine['device']} here")
        against.remove("torch")
    packages = [
        *workdir.PACKAGES,
        *(("torch", "torchvision", "timm") if "torch" in against else ()),
    ]
    about = {**workdir.program(), "versions": workdir.versions(packages), "machine": machine}
    settings = measure.Settings(
        tuple(against),
        args.rounds,
        machine["platform"],
        complain,
        note=lambda text: print(text, file=sys.stderr),
    )
    _report(args, jobs, settings, about)
    return 2 if complaints else 0


def _report(
    args: argparse.Namespace,
    jobs: Sequence[Network | Operation],
    settings: Settings,
    about: Mapping[str, Any],
) -> None:
    """Measures row by row, and leaves a table and the files."""
    from cnn.benchmark import figure, measure, result, table

    machine = about["machine"]
    print(
        f"{machine['num_devices']} {machine['device']}; {machine['processor']}, "
        f"{machine['cores']} cores; jax {about['versions']['jax']}; {args.dtype}"
    )
    output = pathlib.Path(args.output) if args.output else None
    trace = output / "trace" if output is not None and args.profile else None
    lines: list[result.Line] = []
    for row in measure.rows(jobs, settings, trace):
        lines += result.lines(row)
        if output is not None:
            # After each row, so that one that ends the machine leaves those before it.
            name = "results" if args.models is not None else "operations"
            result.save(output, name, lines, about)
        if row.costs:
            table.show_costs(str(row.job), row.costs)
    if not lines:
        return
    table.show(lines)
    if output is not None:
        if args.models is not None:
            figure.save([line._asdict() for line in lines], output / "benchmark.svg")
        print(f"results: {output}")


def _check(args: argparse.Namespace) -> None:
    for name in ("batch_size", "size", "rounds"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    if args.dtype not in DTYPES:
        raise unknown("dtype", args.dtype, DTYPES)
    if args.profile and (args.models is None or not args.output):
        raise UserError("--profile needs --models and --output=DIR, where the trace is left")


def _networks(args: argparse.Namespace, complain: Callable[[str], None]) -> list[Network]:
    """A job for each model and mode that there is."""
    from cnn import models

    modes, sources = [], {}
    for mode in _words(args.mode):
        if mode in MODES:
            modes.append(mode)
        else:
            complain(str(unknown("mode", mode, MODES)))
    for name in _words(args.models):
        try:
            sources[name] = models.source(name)
        except UserError as error:
            complain(str(error))
    return [
        Network(
            name,
            mode,
            batch_size=args.batch_size,
            image_size=args.size or source.image_size,
            channels=source.channels,
            num_classes=source.num_classes,
            dtype=args.dtype,
        )
        for name, source in sources.items()
        for mode in modes
    ]


def _operations(args: argparse.Namespace) -> list[Operation]:
    """A job for each operation and direction."""
    found = [parse(text)._replace(dtype=args.dtype) for text in args.op or OPERATIONS]
    return [one._replace(part=part) for one in found for part in one.parts]


def _against(args: argparse.Namespace, complain: Callable[[str], None]) -> list[str]:
    installed = importlib.util.find_spec("torch") is not None
    if args.against is None:
        return [] if args.models is not None else ["flax", *(["torch"] if installed else [])]
    sides = _words(args.against)
    for side in sides:
        if side not in SIDES:
            raise unknown("value of --against", side, SIDES)
    if "torch" in sides and not installed:
        complain("--against=torch needs PyTorch; pip install torch torchvision timm")
        sides.remove("torch")
    return sides


def _words(text: str) -> list[str]:
    """The words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
