"""The examination of a detector: COCO's average precision, what was missed, the worst images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from cnn.detectors.contract import Detections
from cnn.errors import UserError
from cnn.evaluators.classification import Examples, HostBatch
from cnn.report import boxes as drawing
from cnn.report.evaluation import NOTHING, Evaluation, Mistake

NUM_MISTAKES = 12
_GAP_PX = 6
SURE_SCORE = 0.3
"""From which score on a detection is drawn and counted in the confusion matrix."""
SAME_IOU = 0.5
"""From which overlap on a detection is of an object, there."""
_NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


class Boxes(NamedTuple):
    """The objects of an image, true or found, without padding.

    Attributes:
        boxes: (y0, x0, y1, x1), in pixels of the stored picture where sizes count, else shares.
        labels: Of their classes; a true one below 0 is -2 - label and does not count.
        scores: 1 for true ones.
    """

    boxes: Float[np.ndarray, "boxes 4"]
    labels: Int[np.ndarray, " boxes"]
    scores: Float[np.ndarray, " boxes"]


class _Image(NamedTuple):
    """What is kept of an image: the share of wrong objects, the commonest mistake, shares."""

    wrong: float
    true: int
    predicted: int
    truth: Boxes
    found: Boxes


def examine(
    outputs: Callable[[HostBatch], Mapping[str, Any]],
    batches: Iterable[HostBatch],
    examples: Examples,
    class_names: tuple[str, ...],
    step: int,
) -> Evaluation:
    """Looks for objects in every example of a split once.

    Args:
        outputs: Batch -> `detections`, a `Detections` of shares.
        batches: All of them in the order of `examples`, with `boxes`, `box_labels` and `seen_px`;
            padding at the end of a batch has weight 0.
        examples: The same examples as the model saw them, as pictures.
        class_names: Without background.
        step: Of the model, for the record.

    Returns:
        The twelve metrics of COCO's evaluation (`average_precision`); the confusion matrix of
        objects, with a last class for what was missed or is nothing, of detections with a score of
        at least `SURE_SCORE`; and the images with the most mistakes: the true and the found boxes.

    Raises:
        UserError: If there is no example, or pycocotools is missing.
    """
    count, worst = 0, []
    every: list[tuple[Boxes, Boxes]] = []
    total = np.zeros((len(class_names) + 1, len(class_names) + 1), np.int64)
    for batch in batches:
        found = outputs(batch)["detections"]
        for index in np.flatnonzero(batch["weight"] > 0).tolist():
            truth, own = _truth(batch, index), _found(found, index)
            px = np.tile(batch["seen_px"][index], 2).astype(np.float64)
            every.append(
                (truth._replace(boxes=truth.boxes * px), own._replace(boxes=own.boxes * px))
            )
            own = _sure(own)
            counts = confusion(truth, own, len(class_names))
            total += counts
            worst.append((count, _image(counts, truth, own)))
            count += 1
        worst = sorted(worst, key=lambda one: -one[1].wrong)[:NUM_MISTAKES]
    if not count:
        raise UserError("the evaluation split has no examples")
    metrics = average_precision(every, len(class_names))
    names = (*class_names, NOTHING)
    mistakes = tuple(
        _mistake(index, image, examples, names) for index, image in worst if image.wrong > 0
    )
    return Evaluation(metrics, step, count, names, total, mistakes, unit="objects")


def average_precision(images: Sequence[tuple[Boxes, Boxes]], num_classes: int) -> dict[str, float]:
    """COCO's metrics of (true, found) objects, by pycocotools; NaN where there is nothing to find.

    Returns:
        `ap`, the mean over overlaps of 0.5 to 0.95 and classes; `ap50` and `ap75` at one overlap;
        `ap_small`, `_medium`, `_large` of boxes below 32 x 32, up to 96 x 96 and above; and the
        recall with at most 1, 10 and 100 detections an image, and by size, `ar...`. Sizes are those
        of boxes, where COCO's own are of masks.

    Raises:
        UserError: If pycocotools is missing.
    """
    check_installed()
    from pycocotools.cocoeval import COCOeval

    # It prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _dataset([true for true, _ in images], num_classes)
        found = _dataset([found for _, found in images], num_classes)
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # -1 where there is nothing to find.
    values = (float(value) if value >= 0 else np.nan for value in evaluation.stats)
    return dict(zip(_NAMES, values, strict=True))


def check_installed() -> None:
    """Raises a UserError where pycocotools is missing."""
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the average precision of detections needs pycocotools, which is not installed; run: "
            "pip install -e '.[detection]'"
        ) from error


def confusion(truth: Boxes, found: Boxes, num_classes: int) -> Int[np.ndarray, "true predicted"]:
    """[true, predicted] objects of an image, the last class being none.

    In the order of scores each detection takes the object that it overlaps most of those that are
    left, of whatever class, from `SAME_IOU` on. Objects that do not count, and what lies on them,
    are left out.
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    overlaps = overlap(found.boxes, truth.boxes)
    real = truth.labels >= 0
    free = np.ones(len(truth.labels), bool)
    for row in np.argsort(-found.scores, kind="stable"):
        near = np.where(free, overlaps[row], 0.0)
        best = int(near.argmax()) if len(near) else -1
        if best >= 0 and near[best] >= SAME_IOU:
            if real[best]:
                counts[truth.labels[best], found.labels[row]] += 1
                free[best] = False
        else:
            counts[num_classes, found.labels[row]] += 1
    np.add.at(counts[:, num_classes], truth.labels[free & real], 1)
    return counts


def overlap(
    left: Float[np.ndarray, "left 4"], right: Float[np.ndarray, "right 4"]
) -> Float[np.ndarray, "left right"]:
    """IoU of each pair."""
    starts = np.maximum(left[:, None, :2], right[None, :, :2])
    ends = np.minimum(left[:, None, 2:], right[None, :, 2:])
    common = np.prod(np.maximum(ends - starts, 0.0), axis=-1)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (left, right)]
    union = sizes[0][:, None] + sizes[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _dataset(images: Sequence[Boxes], num_classes: int) -> Any:
    """Objects as pycocotools has them."""
    from pycocotools.coco import COCO

    annotations = []
    for image, objects in enumerate(images):
        for box, label, score in zip(*objects, strict=True):
            y0, x0, y1, x1 = (float(side) for side in box)
            annotations.append(
                {
                    # Its numbers start at 1: 0 means no match to it.
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label if label >= 0 else -2 - label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(label < 0),
                    "score": float(score),
                }
            )
    content: Any = {
        "images": [{"id": image} for image in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": label} for label in range(num_classes)],
    }
    dataset = COCO()
    dataset.dataset = content
    dataset.createIndex()
    return dataset


def _truth(batch: HostBatch, index: int) -> Boxes:
    labels = batch["box_labels"][index]
    real = labels != -1
    return Boxes(batch["boxes"][index][real], labels[real], np.ones(real.sum(), np.float32))


def _found(found: Detections, index: int) -> Boxes:
    own = jax.tree.map(lambda x: x[index], found)
    real = own.labels >= 0
    return Boxes(own.boxes[real], own.labels[real], own.scores[real])


def _sure(found: Boxes) -> Boxes:
    sure = found.scores >= SURE_SCORE
    return Boxes(found.boxes[sure], found.labels[sure], found.scores[sure])


def _image(counts: Int[np.ndarray, "true predicted"], truth: Boxes, found: Boxes) -> _Image:
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    true, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    share = float(wrong.sum() / max(1, counts.sum()))
    return _Image(share, int(true), int(predicted), truth, found)


def _mistake(
    index: int, image: _Image, examples: Examples, class_names: tuple[str, ...]
) -> Mistake:
    picture = np.asarray(examples[index]["image"])
    truth = image.truth._replace(labels=np.maximum(image.truth.labels, -2 - image.truth.labels))
    captions = (
        [class_names[label] for label in truth.labels],
        drawing.captions(image.found.labels, image.found.scores, class_names),
    )
    drawn = [
        drawing.drawn(picture, boxes.boxes, boxes.labels, texts)
        for boxes, texts in zip((truth, image.found), captions, strict=True)
    ]
    gap = np.full((len(drawn[0]), _GAP_PX, 3), 255, np.uint8)
    shown = np.concatenate([drawn[0], gap, drawn[1]], axis=1)
    true, predicted = class_names[image.true], class_names[image.predicted]
    return Mistake(
        image=shown, true=true, predicted=predicted, probability=image.wrong, index=index
    )
