"""The pictures of `cnn predict` with a detector: boxes drawn over them, and a list."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

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
    size = experiment.shared(1)
    for name, image in pictures.items():
        seen = np.repeat(preprocess(image)[None], size, axis=0)
        batch = {**experiment.blank_batch(size), "image": seen}
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
