"""Classify image files with a run's model: the most probable classes of each.

cnn predict --workdir=runs/lenet5 digit.png photo.jpg
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from cnn.experiment import Experiment

TAKES_CONFIG = False
BATCH_SIZE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--workdir", required=True, metavar="DIR", help="a run of cnn train")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files of any size and mode")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="this checkpoint; default the latest")
    which.add_argument("--best", action="store_true", help="the best by checkpoint.best_metric")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes shown; default 5")
    parser.add_argument("--json", action="store_true", help="one JSON object a file")


def run(args: argparse.Namespace) -> int:
    """Predicts all files that can be read; 2 if one could not."""
    from cnn.cli import workdir
    from cnn.errors import UserError

    if args.top < 1:
        raise UserError(f"--top must be at least 1, got {args.top}")
    directory = pathlib.Path(args.workdir)
    config, facts = workdir.read_config(directory), workdir.read_facts(directory)
    from cnn.data.decode import read_image

    pictures, code = {}, 0
    channels = 1 if config["preprocess"]["channels"] == 1 else 3
    for path in args.images:
        try:
            pictures[path] = read_image(path, channels=channels)
        except UserError as error:
            sys.stderr.write(f"cnn: error: {error}\n")
            code = 2
    if not pictures:
        return code
    workdir.start_jax()
    from cnn import experiment as experiments

    experiment = experiments.build_without_data(workdir.for_reading(config), facts)
    _, state = workdir.restore(directory, experiment, args.step, args.best)
    probabilities = predict(experiment, state, list(pictures.values()))
    for path, row in zip(pictures, probabilities, strict=True):
        best = (-row).argsort(kind="stable")[: args.top]
        found = [(facts.class_names[index], float(row[index])) for index in best]
        if args.json:
            print(json.dumps({"file": path, "top": [list(pair) for pair in found]}))
        else:
            print(f"{path}: " + "  ".join(f"{name} {share:.4f}" for name, share in found))
    return code


def predict(experiment: Experiment, state: object, pictures: list[np.ndarray]) -> np.ndarray:
    """Probabilities [pictures, classes] of uint8 pictures of any size."""
    import numpy as np

    preprocess, strategy = experiment.preprocess(), experiment.strategy
    size = experiment.shared(min(BATCH_SIZE, len(pictures)))
    step = strategy.predict(experiment.task.predict)
    parts = []
    for start in range(0, len(pictures), size):
        some = [preprocess(picture) for picture in pictures[start : start + size]]
        batch = dict(experiment.blank_batch(size))
        batch["image"] = np.zeros_like(batch["image"])
        batch["image"][: len(some)] = some
        outputs = strategy.fetch_examples(step(state, strategy.put(batch)))
        parts.append(outputs["probabilities"][: len(some)])
    return np.concatenate(parts)
