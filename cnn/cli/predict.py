"""Classify image files, their pixels, or find objects in them, by a run's model or by weights.

cnn predict --workdir=runs/lenet5 digit.png photo.jpg
cnn predict --weights=hf:timm/resnet50.a1_in1k --model=resnet50 photo.jpg
cnn predict --workdir=runs/scenes --output=drawn scene.png
cnn predict --workdir=runs/scenes --output=drawn --windows large.png

Of a classifier the most probable classes of each file are shown. A segmenter draws its regions over
the picture, NAME.png in the folder --output, and writes the classes of all pixels beside it, as
NAME_mask.png with a palette; shown are the classes that most pixels have.

A detector draws its boxes, NAME.png in the folder --output, and shows class and score of each that
has at least --score; with --json also where it is, (y0, x0, y1, x1) as shares of height and width.
Fast R-CNN and R-CNN look at the proposals of --proposals, whose image_id is the file's name without
ending, or at those of selective search (`pip install -e '.[proposals]'`).

Size, crop, normalisation and names of classes are those of the run, or travel with the weights.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cnn.cli.evaluate import VIEWS_HELP

if TYPE_CHECKING:
    import numpy as np

TAKES_CONFIG = False
BATCH_SIZE = 32


class Predictor(NamedTuple):
    """Pictures of any size -> probabilities.

    Attributes:
        preprocess: A picture -> what the network sees of it, once or in several views.
        class_names: In the order of the probabilities.
        batch_size: For a number of pictures, how many to compute at once.
        probabilities: Images [batch, height, width, channels], with an axis of views behind the
            first where there are several -> [batch, classes]; of a segmenter [batch, height, width,
            classes].
        margin_px: None of a classifier. Of a segmenter, how far from the edge of what it sees a
            pixel depends on what is beyond; 0 where it was trained with that.
    """

    preprocess: Callable[[np.ndarray], np.ndarray]
    class_names: Sequence[str]
    batch_size: Callable[[int], int]
    probabilities: Callable[[np.ndarray], np.ndarray]
    margin_px: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--workdir", metavar="DIR", help="a run of cnn train")
    origin.add_argument("--weights", metavar="FILE", help="a file, or hf:OWNER/NAME")
    parser.add_argument(
        "--model", default="", metavar="NAME", help="of the weights; see cnn models"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files of any size and mode")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="this checkpoint; default the latest")
    which.add_argument("--best", action="store_true", help="the best by checkpoint.best_metric")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes shown; default 5")
    parser.add_argument("--views", metavar="KIND", help=VIEWS_HELP)
    parser.add_argument(
        "--output", metavar="DIR", help="of a segmenter or detector: where drawings go"
    )
    parser.add_argument(
        "--score", type=float, default=0.3, metavar="P", help="of a detector; default 0.3"
    )
    parser.add_argument(
        "--proposals", metavar="FILE", help="of a detector that makes none; see cnn data propose"
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="of a segmenter: see the picture at its own size, by windows that overlap",
    )
    parser.add_argument(
        "--overlap", type=float, default=0.5, metavar="SHARE", help="of windows; default 0.5"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a file")


def run(args: argparse.Namespace) -> int:
    """Predicts all files that can be read; 2 if one could not."""
    from cnn.cli import objects, regions, workdir

    _check(args)
    pictures, code = _read(args)
    if not pictures:
        return code
    workdir.start_jax()
    if args.workdir:
        from cnn.kinds import kind_of

        finds_objects = kind_of(workdir.read_config(pathlib.Path(args.workdir))).target == "boxes"
        if finds_objects:
            objects.check(args)
        experiment, state = _restored(args)
        if finds_objects:
            objects.draw_all(experiment, state, pictures, args)
            return code
        predictor = _of_run(experiment, state)
    else:
        predictor = _of_weights(args)
    if predictor.margin_px is not None:
        regions.draw_all(predictor, pictures, args)
    else:
        _classify(predictor, pictures, args)
    return code


def _read(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], int]:
    """The pictures that can be read, by file name, and 2 if one could not."""
    from cnn.cli import workdir
    from cnn.data.decode import read_image
    from cnn.errors import UserError

    channels = 3
    if args.workdir:
        config = workdir.read_config(pathlib.Path(args.workdir))
        channels = 1 if config["preprocess"]["channels"] == 1 else 3
    pictures, code = {}, 0
    for path in args.images:
        try:
            pictures[path] = read_image(path, channels=channels)
        except UserError as error:
            sys.stderr.write(f"cnn: error: {error}\n")
            code = 2
    return pictures, code


def _classify(
    predictor: Predictor, pictures: dict[str, np.ndarray], args: argparse.Namespace
) -> None:
    from cnn.errors import UserError

    if args.output or args.windows or args.proposals:
        raise UserError(
            "--output, --windows and --proposals are for segmenters and detectors, and this is a "
            "classifier"
        )
    probabilities = predict(predictor, list(pictures.values()))
    for path, row in zip(pictures, probabilities, strict=True):
        best = (-row).argsort(kind="stable")[: args.top]
        found = [(predictor.class_names[index], float(row[index])) for index in best]
        if args.json:
            print(json.dumps({"file": path, "top": [list(pair) for pair in found]}))
        else:
            print(f"{path}: " + "  ".join(f"{name} {share:.4f}" for name, share in found))


def _check(args: argparse.Namespace) -> None:
    from cnn.errors import UserError

    if args.top < 1:
        raise UserError(f"--top must be at least 1, got {args.top}")
    if args.workdir and args.model:
        raise UserError("--model is for --weights; a run knows its model")
    if args.weights and (args.best or args.step is not None):
        raise UserError("--step and --best are for --workdir; weights have no steps")


def predict(predictor: Predictor, pictures: list[np.ndarray]) -> np.ndarray:
    """Probabilities [pictures, classes] of uint8 pictures of any size."""
    import numpy as np

    size = predictor.batch_size(len(pictures))
    parts = []
    for start in range(0, len(pictures), size):
        some = [predictor.preprocess(picture) for picture in pictures[start : start + size]]
        images = np.zeros((size, *some[0].shape), np.float32)
        images[: len(some)] = some
        parts.append(predictor.probabilities(images)[: len(some)])
    return np.concatenate(parts)


def _restored(args: argparse.Namespace) -> tuple[Any, Any]:
    """The experiment of a run, and the state of the checkpoint that is asked for."""
    from cnn import experiment as experiments
    from cnn.cli import workdir
    from cnn.errors import UserError

    directory = pathlib.Path(args.workdir)
    config, facts = workdir.read_config(directory), workdir.read_facts(directory)
    experiment = experiments.build_without_data(workdir.for_reading(config, args.views), facts)
    if experiment.kind.pictured:
        raise UserError(
            f"the run's task is {config['task']['name']!r}, which makes pictures: "
            f"cnn generate --workdir={directory}"
        )
    _, state = workdir.restore(directory, experiment, args.step, args.best)
    return experiment, state


def _of_run(experiment: Any, state: Any) -> Predictor:
    from cnn import experiment as experiments
    from cnn.cli import regions

    strategy = experiment.strategy
    step = strategy.predict(experiment.task.predict)

    def batch_size(count: int) -> int:
        return experiment.shared(min(BATCH_SIZE, count))

    def probabilities(images: np.ndarray) -> np.ndarray:
        batch = {**experiment.blank_batch(len(images)), "image": images}
        return strategy.fetch_examples(step(state, strategy.put(batch)))["probabilities"]

    margin_px = None
    if experiment.kind.target == "mask":
        margin_px = regions.margin_px(experiments.model_of(experiment), experiment.blank_batch(1))
    class_names = experiment.facts.class_names
    return Predictor(experiment.views(), class_names, batch_size, probabilities, margin_px)


def _of_weights(args: argparse.Namespace) -> Predictor:
    import jax
    import numpy as np

    from cnn import data, models
    from cnn.cli import opened, regions
    from cnn.tasks.segmentation import whole_logits
    from cnn.tasks.views import over_views

    network, preprocess, class_names = opened.open_network(args.weights, args.model)
    model = network.model()

    @jax.jit
    def forward(variables: Any, images: jax.Array) -> jax.Array:
        def logits_of(view: jax.Array) -> jax.Array:
            logits = model.apply(variables, view)
            assert isinstance(logits, jax.Array)
            return logits

        if network.name in models.segmenters():
            return jax.nn.softmax(whole_logits(logits_of, images))
        logits = over_views(logits_of, images)
        return jax.nn.softmax(logits)

    variables = jax.device_put(network.variables)

    def probabilities(images: np.ndarray) -> np.ndarray:
        return np.asarray(forward(variables, images))

    views = data.make_views(preprocess, args.views or "center")
    margin_px = None
    if network.name in models.segmenters():
        size = preprocess.image_size
        blank = {"image": np.zeros((1, size, size, network.channels), np.float32)}
        margin_px = regions.margin_px(model, blank)
    count = functools.partial(min, BATCH_SIZE)
    return Predictor(views, class_names, count, probabilities, margin_px)
