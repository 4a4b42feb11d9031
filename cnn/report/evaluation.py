"""The result of an evaluation as a record that outlives the model, in `workdir/evaluation.json`."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from cnn.errors import UserError
from cnn.report import files, picture

EVALUATION_FILE = "evaluation.json"
NOTHING = "nothing"
"""Of objects, the last class of a confusion matrix: true where nothing was, predicted where nothing
was found."""


# No NamedTuple: a field `index` would hide the method of tuples.
@dataclasses.dataclass(frozen=True, eq=False)
class Mistake:
    """An example that was classified wrongly.

    `image` is as it should be shown: 0 to 255, with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
    `probability` is the one given to the wrong class `predicted`. `index` is the example's place
    in its split.
    """

    image: picture.Picture
    true: str
    predicted: str
    probability: float
    index: int


class Evaluation(NamedTuple):
    """What the evaluation of one checkpoint over a whole split found.

    `metrics` are means over the `num_examples` examples, by name ("loss", "accuracy", ...), of the
    model after `step` updates. `confusion[t, p]` counts the examples of class t that were taken for
    class p; `class_names` names both axes. `mistakes` come worst first and need not be all. `views`
    is what the model saw of each example: "center", or the name of views that were averaged.
    `unit` is what the confusion matrix counts: "examples", "pixels" or "objects", or "images" where
    nothing has classes and it is empty. Of pixels and objects a mistake is that of a whole picture:
    the commonest one, and as `probability` the share of them that are wrong.
    """

    metrics: Mapping[str, float]
    step: int
    num_examples: int
    class_names: tuple[str, ...]
    confusion: Int[np.ndarray, "true predicted"]
    mistakes: tuple[Mistake, ...]
    views: str = "center"
    unit: str = "examples"

    @property
    def shown_px(self) -> int:
        """Of what a mistake's picture may have, as its longer side; of parts it shows several."""
        return 320 if self.unit == "examples" else 720

    def headline(self) -> str:
        """The metrics in a line."""
        if self.unit == "examples":
            right = int(self.confusion.trace())
            return (
                f"accuracy {self.metrics['accuracy']:.4f} ({right:,} of {self.num_examples:,} "
                f"right)  loss {self.metrics['loss']:.4f}"
            )
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        if self.unit == "images":
            return f"{shown}  ({self.num_examples:,} examples)"
        counted = self.confusion[:-1] if self.unit == "objects" else self.confusion
        return f"{shown}  ({self.num_examples:,} examples, {int(counted.sum()):,} {self.unit})"


def save(workdir: str | pathlib.Path, evaluation: Evaluation) -> pathlib.Path:
    """Writes `workdir/evaluation.json`, whole or not at all; returns its path.

    The confusion matrix is stored as its non-zero entries (true, predicted, count), since that of
    1,000 classes is mostly zeros; pictures as PNG in base64, scaled down to `shown_px`, since 24
    photographs as they come from a camera are half a gigabyte.

    Raises:
        UserError: If it cannot be written.
    """
    rows, columns = np.nonzero(evaluation.confusion)
    counts = evaluation.confusion[rows, columns]
    content = {
        "step": evaluation.step,
        "num_examples": evaluation.num_examples,
        "views": evaluation.views,
        "unit": evaluation.unit,
        "metrics": {k: files.encode_float(float(v)) for k, v in evaluation.metrics.items()},
        "class_names": list(evaluation.class_names),
        "confusion": np.stack([rows, columns, counts], axis=1).tolist(),
        "mistakes": [
            {
                "true": mistake.true,
                "predicted": mistake.predicted,
                "probability": files.encode_float(float(mistake.probability)),
                "index": int(mistake.index),
                "png": _base64_png(mistake.image, evaluation.shown_px),
            }
            for mistake in evaluation.mistakes
        ],
    }
    path = pathlib.Path(workdir) / EVALUATION_FILE
    files.write_atomically(path, json.dumps(content, allow_nan=False).encode() + b"\n")
    return path


def load(workdir: str | pathlib.Path) -> Evaluation | None:
    """What `save` wrote, or None where there is no evaluation yet.

    Raises:
        UserError: If the file is damaged.
    """
    path = pathlib.Path(workdir) / EVALUATION_FILE
    content = files.read_json(path)
    if content is None:
        return None
    try:
        return _decode(content)
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); delete it and evaluate the run again"
        ) from error


def _base64_png(image: picture.Picture, limit_px: int) -> str:
    return base64.b64encode(picture.encode_png(picture.shrunk(image, limit_px=limit_px))).decode()


def _decode(content: dict[str, Any]) -> Evaluation:
    class_names = tuple(content["class_names"])
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    for true, predicted, count in content["confusion"]:
        confusion[true, predicted] = count
    mistakes = tuple(
        Mistake(
            image=picture.decode_png(base64.b64decode(record["png"])),
            true=record["true"],
            predicted=record["predicted"],
            probability=files.decode_float(record["probability"]),
            index=record["index"],
        )
        for record in content["mistakes"]
    )
    return Evaluation(
        metrics={k: files.decode_float(v) for k, v in content["metrics"].items()},
        step=content["step"],
        num_examples=content["num_examples"],
        class_names=class_names,
        confusion=confusion,
        mistakes=mistakes,
        # Records that are older than this were of the centre.
        views=content.get("views", "center"),
        unit=content.get("unit", "examples"),
    )
