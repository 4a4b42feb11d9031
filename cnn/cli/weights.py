"""Weights in files: turn them from one format or library into another, or check them.

cnn weights convert resnet18 resnet18.pth resnet18.safetensors
cnn weights convert resnet8_cifar runs/resnet8 resnet8.safetensors
cnn weights check resnet18 resnet18.pth
cnn weights check resnet18 resnet18.pth --reference=activations.npz

Weights are a .safetensors, .pth, .pt or .bin file, hf:OWNER/NAME, or the workdir of a run. A
reference holds what another implementation computes: `input`, the images, and the output of each
layer by its torch name. The README has the lines that make one.
"""

from __future__ import annotations

import argparse
import sys

TAKES_CONFIG = False
DIFFERS = 1
"""The exit code where the weights fit, but compute something else than the reference."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="convert|check")
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


def run(args: argparse.Namespace) -> int:
    """Converts or checks; 1 if the weights compute something else than the reference."""
    return _convert(args) if args.action == "convert" else _check(args)


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
