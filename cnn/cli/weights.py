"""Weights in files: turn them from one format or library into another, check or average them.

cnn weights convert resnet18 resnet18.pth resnet18.safetensors
cnn weights convert resnet8_cifar runs/resnet8 resnet8.safetensors
cnn weights check resnet18 resnet18.pth
cnn weights check resnet18 resnet18.pth --reference=activations.npz
cnn weights average runs/tuned0 runs/tuned1 runs/tuned2@4000 --output=soup.safetensors

Weights are a .safetensors, .pth, .pt or .bin file, hf:OWNER/NAME, or the workdir of a run. A
reference holds what another implementation computes: `input`, the images, and the output of each
layer by its torch name. The README has the lines that make one.

average makes a model soup: the mean of fine-tunings of the same weights, or of checkpoints of one
run (RUN@STEP). With --greedy the evaluation split of the first run says which of them go in.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

TAKES_CONFIG = False
DIFFERS = 1
"""The exit code where the weights fit, but compute something else than the reference."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="convert|check|average")
    convert = actions.add_parser(
        "convert", help="write weights in another format or by other names"
    )
    convert.add_argument("name", metavar="NAME", help="of the network; see cnn models")
    convert.add_argument("source", metavar="SRC", help="weights")
    convert.add_argument("target", metavar="DST", help="a .safetensors or .pth file")
    convert.add_argument(
        "--names",
        default="",
        metavar="WHOSE",
        help="torchvision, timm, or cnn for our paths; default as in SRC",
    )
    check = actions.add_parser("check", help="whether weights fit a network and compute the same")
    check.add_argument("name", metavar="NAME", help="of the network; see cnn models")
    check.add_argument("source", metavar="FILE", help="weights")
    check.add_argument("--reference", metavar="NPZ", help="outputs of another implementation")
    check.add_argument(
        "--tolerance", type=float, metavar="X", help="largest error by largest value; default 1e-5"
    )
    average = actions.add_parser("average", help="the mean of several runs or checkpoints")
    average.add_argument("sources", nargs="+", metavar="RUN", help="weights")
    average.add_argument(
        "--output", required=True, metavar="FILE", help="a .safetensors or .pth file"
    )
    average.add_argument(
        "--greedy", action="store_true", help="leave out what makes the evaluation worse"
    )


def run(args: argparse.Namespace) -> int:
    """Does it; 1 if checked weights compute something else than the reference."""
    return {"convert": _convert, "check": _check, "average": _average}[args.action](args)


def _convert(args: argparse.Namespace) -> int:
    from cnn import pretrained
    from cnn.errors import unknown
    from cnn.pretrained import files, network
    from cnn.pretrained import layout as layouts
    from cnn.pretrained.facts import Facts

    files.check_suffix(args.target)
    weights = pretrained.open_weights(args.source)
    loaded = network.load(weights, args.name)
    names = args.names or loaded.layout
    known = {network.OURS, *pretrained.layouts_of(args.name, **loaded.fields)}
    if names not in known:
        raise unknown(f"names for {args.name}", names, known)
    if names == network.OURS:
        arrays = layouts.paths_of(loaded.variables)
        tensors = {"/".join(path): array for path, array in arrays.items()}
    else:
        like = None if loaded.layout == network.OURS else weights.tensors
        tensors = pretrained.to_torch(
            args.name, loaded.variables, layout=names, like=like, **loaded.fields
        )
    facts = weights.facts._replace(model=args.name, fields=loaded.fields)
    pretrained.write(args.target, tensors, facts)
    for note in weights.notes:
        print(f"note: {note}")
    kept = "with" if facts != Facts(args.name, loaded.fields) else "without"
    print(
        f"{args.target}: {len(tensors)} tensors of {args.name} by the names of {names}, {kept} "
        "facts on images and classes"
    )
    return 0


def _check(args: argparse.Namespace) -> int:
    from cnn import pretrained
    from cnn.errors import UserError
    from cnn.pretrained import compare, network

    if args.tolerance is not None and not args.tolerance > 0:
        raise UserError(f"--tolerance must be above 0, got {args.tolerance}")
    if args.tolerance is not None and not args.reference:
        raise UserError("--tolerance is for --reference; without one nothing is computed")
    reference = compare.read_reference(args.reference) if args.reference else None
    weights = pretrained.open_weights(args.source)
    loaded = network.load(weights, args.name)
    for note in weights.notes:
        print(f"note: {note}")
    print(
        f"{args.source} fits {args.name}: {len(weights.tensors)} tensors by the names of "
        f"{loaded.layout}, {loaded.num_classes} classes, images of {loaded.channels} channels"
    )
    facts = weights.facts
    print(f"images: {facts.preprocess._asdict() if facts.preprocess else 'not said'}")
    print(f"classes: {', '.join(facts.class_names[:10]) or 'not said'}")
    if reference is None:
        return 0
    from cnn.cli import workdir

    workdir.start_jax()
    tolerance = args.tolerance or compare.TOLERANCE
    outcome = compare.compare(loaded, reference, tolerance)
    if outcome.absent:
        print(f"not in the reference: {len(outcome.absent)} layers, first {outcome.absent[0]}")
    worst = max(outcome.errors, key=lambda layer: outcome.errors[layer], default="")
    if outcome.errors:
        error = outcome.errors[worst]
        print(f"{len(outcome.errors)} layers agree; largest relative error {error:.1e}, at {worst}")
    if outcome.first is None:
        return 0
    sys.stdout.write(
        f"first that differs: {' + '.join(outcome.first.paths)} ({outcome.first.name}), relative "
        f"error {outcome.error:.1e}, allowed {tolerance:.0e}\nlikely reason: {outcome.reason}\n"
    )
    return DIFFERS


def _average(args: argparse.Namespace) -> int:
    from cnn import pretrained
    from cnn.errors import UserError
    from cnn.pretrained import files, network, soup

    files.check_suffix(args.output)
    names = args.sources
    if len(names) < 2:
        raise UserError(f"an average is of two or more, got {names[0]} alone")
    opened = [pretrained.open_weights(name) for name in names]
    soup.check_one_network(opened, names)
    tensors = [weights.tensors for weights in opened]
    if args.greedy:
        if not all(map(network.is_ours, tensors)):
            raise UserError("--greedy is for runs of ours, and files that cnn wrote by its paths")
        mean, chosen, best = soup.greedy(tensors, names, _scorer(names[0]))
        print(f"accuracy {best:.4f} on the split that chose {len(chosen)} of {len(names)}")
    else:
        mean, chosen = soup.average(tensors, names), names
    pretrained.write(args.output, mean, opened[0].facts)
    if any("batch_stats/" in name or "running_" in name for name in mean):
        print("note: statistics of batch norm are averaged too; those of the mean network differ")
    print(f"{args.output}: the mean of {', '.join(chosen)}, {len(mean)} tensors")
    return 0


def _scorer(run: str) -> Callable[[Mapping[str, Any]], float]:
    """Tensors by our paths -> their accuracy on the evaluation split of a run."""
    from cnn.cli import workdir

    directory = pathlib.Path(run.rpartition("@")[0] or run)
    config = workdir.for_reading(workdir.read_config(directory), None)
    workdir.start_jax()
    from cnn import experiment as experiments
    from cnn import train
    from cnn.pretrained.initialise import Initial, Report

    experiment = experiments.build(config)
    blank = train.blank_carry(experiment).state
    evaluate = train.make_evaluate(experiment)

    def score(tensors: Mapping[str, Any]) -> float:
        values = {tuple(name.split("/")): tensor for name, tensor in tensors.items()}
        strategy = experiment.strategy
        initial = Initial(values, Report(run, (), {}, {}, {}, ()))
        state = initial.apply(strategy.fetch(blank))
        return evaluate(strategy.unpack(state))["eval/accuracy"]

    return score
