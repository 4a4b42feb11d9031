"""Download and prepare a tfds data set, once; training then reads it without TensorFlow.

pip install -e '.[prepare]'
cnn prepare mnist
cnn train --config=configs/tfds.py:mnist --workdir=runs/mnist
"""

from __future__ import annotations

import argparse

TAKES_CONFIG = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("dataset", help="a tfds name, for instance cifar10 or imagenet2012:5.1.0")
    parser.add_argument("--data_dir", default="", metavar="DIR", help="default: tfds's own")


def run(args: argparse.Namespace) -> int:
    """Prepares the data set and prints where it is."""
    from cnn.data.prepare import prepare

    print(prepare(args.dataset, args.data_dir))
    return 0
