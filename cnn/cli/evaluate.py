"""Measure a network: a run's checkpoint on its evaluation split, and much else with --on.

cnn evaluate --workdir=runs/lenet5
cnn evaluate --workdir=runs/lenet5 --best --views=flip
cnn evaluate --workdir=runs/lenet5 --on=calibration,per_class,linear_probe,knn
cnn evaluate --workdir=runs/resnet50 --on=imagenet_v2 --root=imagenetv2-matched-frequency
cnn evaluate --workdir=runs/resnet50 --on=imagenet_real --labels=real.json --tfds=imagenet2012
cnn evaluate --weights=resnet50.pth --model=resnet50 --on=imagenet_r --root=imagenet-r
cnn evaluate --workdir=runs/dcgan --on=generation --features=runs/lenet5

Without --on the run's evaluation split is examined and the report written anew. With it:

  imagenet_v2, imagenet_sketch  another test set of the same classes; test_set is any such set
  imagenet_a, imagenet_r        200 of the classes, among which alone the network chooses
  imagenet_real                 several labels an image (--labels=real.json)
  imagenet_c                    its files, corruption/severity/class below --root
  corruptions                   the same fifteen in five severities, made on the fly
  calibration, per_class        how sure it is; recall, precision and F1 of each class
  knn, linear_probe, few_shot   what is learnt on its frozen features, with a training split
  throughput                    images a second of the forward pass
  generation                    a generator's pictures beside the real ones, as a classifier sees
                                them (--features): FID, precision, recall, share recognised

What reads pictures takes those of --root (class folders; for what learns, train/ and val/) or
--tfds, else the run's own. Classes are matched by name, number or WordNet id. Results are printed
and kept in WORKDIR/evaluations (or --output), and shown in the run's report.
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
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--workdir", metavar="DIR", help="a run of cnn train")
    origin.add_argument("--weights", metavar="FILE", help="a file, or hf:OWNER/NAME; with --on")
    parser.add_argument(
        "--model", default="", metavar="NAME", help="of the weights; see cnn models"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="this checkpoint; default the latest")
    which.add_argument("--best", action="store_true", help="the best by checkpoint.best_metric")
    parser.add_argument("--views", metavar="KIND", help=VIEWS_HELP)
    parser.add_argument("--on", default="", metavar="KIND,KIND", help="see above")
    parser.add_argument("--root", default="", metavar="DIR", help="pictures; with --tfds its place")
    parser.add_argument("--tfds", default="", metavar="NAME", help="a prepared tfds data set")
    parser.add_argument("--split", default="", metavar="SPLIT", help="of --tfds; default test-like")
    parser.add_argument("--labels", default="", metavar="FILE", help="real.json")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="N examples, spread out")
    parser.add_argument("--k", default="20", metavar="K,K", help="neighbours of knn; default 20")
    parser.add_argument(
        "--temperature", type=float, default=0.07, metavar="T", help="of knn; default 0.07"
    )
    parser.add_argument("--shots", default="1,5,10", metavar="N,N", help="default 1,5,10")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="of few_shot; default 5")
    parser.add_argument("--l2", type=float, default=1024.0, help="of few_shot; default 1024")
    parser.add_argument("--corruptions", default="", metavar="NAME,NAME", help="default all")
    parser.add_argument("--severities", default="1,2,3,4,5", metavar="N,N", help="default all")
    parser.add_argument("--batch_size", type=int, default=64, metavar="N", help="for --weights")
    parser.add_argument("--output", metavar="DIR", help="for results with --weights")
    parser.add_argument(
        "--features", default="", metavar="DIR", help="of generation: a classifier, run or weights"
    )
    parser.add_argument(
        "--num", type=int, default=0, metavar="N", help="of generation: pictures made; 0: as real"
    )


def run(args: argparse.Namespace) -> int:
    """Restores, evaluates every example once, prints and reports."""
    from cnn.cli import workdir

    if args.on or args.weights:
        from cnn.cli import evaluations

        return evaluations.run(args)
    directory = pathlib.Path(args.workdir)
    config = workdir.read_config(directory)
    workdir.start_jax()
    from cnn import experiment as experiments

    experiment = experiments.build(workdir.for_reading(config, args.views))
    step, state = workdir.restore(directory, experiment, args.step, args.best)
    return workdir.examine(directory, experiment, state, step)
