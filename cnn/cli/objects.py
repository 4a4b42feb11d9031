"""The pictures of `cnn predict` with a detector: boxes drawn over them, and a list."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnn.data.contract import Example
from cnn.errors import UserError


def check(args: argparse.Namespace) -> None:
    """Looks at the flags of `cnn predict`, before anything is computed.

    Raises:
        UserError: If there is no folder to draw into, or a flag is not for detectors.
    """
    from cnn.cli import workdir

    if not args.output:
        raise UserError("a detector draws its boxes: say where, --output=DIR")
    if args.windows or args.views:
        raise UserError("a detector sees a picture once and whole: leave --windows and --views out")
    if not 0 <= args.score <= 1:
        raise UserError(f"--score must be between 0 and 1, got {args.score}")
    workdir.check_writable(pathlib.Path(args.output), flag="--output")


Find = Callable[[str, np.ndarray], np.ndarray]
"""(file name, picture) -> its proposals as shares."""


def _proposals(experiment: Any, args: argparse.Namespace) -> Find | None:
    """Where proposals come from; None where the network makes its own.

    Raises:
        UserError: If it does and --proposals is given, the file cannot be read, or OpenCV, which is
            needed without a file, is missing.
    """
    from cnn import experiment as experiments
    from cnn.data import selective_search
    from cnn.data.proposals import as_shares, read_proposals

    if not getattr(experiments.model_of(experiment), "reads_proposals", False):
        if args.proposals:
            raise UserError("--proposals is for Fast R-CNN and R-CNN; this network makes its own")
        return None
    if not args.proposals:
        selective_search.check_installed()
        return lambda name, image: as_shares(
            selective_search.selective_search(image).boxes, image.shape
        )
    known = read_proposals(args.proposals)

    def find(name: str, image: np.ndarray) -> np.ndarray:
        stem = pathlib.Path(name).stem
        if stem not in known:
            raise UserError(f"{args.proposals} has no proposals of image_id {stem!r} for {name}")
        return as_shares(known[stem], image.shape)

    return find


def draw_all(
    experiment: Any, state: Any, pictures: Mapping[str, np.ndarray], args: argparse.Namespace
) -> None:
    """Looks for objects in all pictures, draws them and prints a line for each picture.

    Args:
        experiment: Of the run, on one device.
        state: Laid out.
        pictures: Of any size, by file name.
        args: The flags of the command, checked.
    """
    from cnn.data.geometry import map_boxes, undone
    from cnn.data.moves import geometry_of
    from cnn.report import boxes as drawing
    from cnn.report import picture

    folder = pathlib.Path(args.output)
    names, preprocess = experiment.facts.class_names, experiment.preprocess()
    strategy = experiment.strategy
    predict = strategy.predict(experiment.task.predict)
    size, find = experiment.shared(1), _proposals(experiment, args)
    for name, image in pictures.items():
        example: Example = {"image": image, "label": 0}
        if find is not None:
            example["proposals"] = find(name, image)
        seen = {key: x for key, x in preprocess.example(example).items() if key != "label"}
        seen = {key: np.repeat(x[None], size, axis=0) for key, x in seen.items()}
        batch = {**experiment.blank_batch(size), **seen}
        found = strategy.fetch_examples(predict(state, strategy.put(batch)))["detections"]
        shape = image.shape[:2]
        back = undone(geometry_of(shape, preprocess.moves(shape)))
        boxes, stays = map_boxes(back, np.asarray(found.boxes[0]))
        shown = stays & (found.labels[0] >= 0) & (found.scores[0] >= args.score)
        boxes, labels, scores = boxes[shown], found.labels[0][shown], found.scores[0][shown]
        captions = drawing.captions(labels, scores, names)
        path = folder / f"{pathlib.Path(name).stem}.png"
        path.write_bytes(picture.encode_png(drawing.drawn(image, boxes, labels, captions)))
        if args.json:
            objects = [
                {"class": names[label], "score": float(score), "box": [float(x) for x in box]}
                for label, score, box in zip(labels, scores, boxes, strict=True)
            ]
            print(json.dumps({"file": name, "drawn": str(path), "objects": objects}))
        else:
            print(f"{name}: {'  '.join(captions) or 'nothing'}  -> {path}")
