"""The examination of a segmenter: the overlap of its regions with the true ones, and its worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from cnn.errors import UserError
from cnn.evaluators.classification import Examples, HostBatch
from cnn.metrics.confusion import overlap
from cnn.report import overlay
from cnn.report.evaluation import Evaluation, Mistake

NUM_MISTAKES = 12
IGNORED = 255


class _Image(NamedTuple):
    """What is kept of an image: the share of wrong pixels, and the commonest mistake."""

    wrong: float
    true: int
    predicted: int
    classes: UInt8[np.ndarray, "height width"]


def examine(
    outputs: Callable[[HostBatch], Mapping[str, np.ndarray]],
    batches: Iterable[HostBatch],
    examples: Examples,
    class_names: tuple[str, ...],
    step: int,
) -> Evaluation:
    """Predicts every pixel of a split once.

    Args:
        outputs: Batch -> `classes` uint8 [batch, height, width].
        batches: All of them in the order of `examples`, with `mask`, whose pixels of class 255
            count nowhere; padding at the end of a batch has weight 0.
        examples: The same examples as the model saw them, as pictures with masks.
        class_names: By number.
        step: Of the model, for the record.

    Returns:
        Metrics `miou`, `dice` and `pixel_accuracy`, the confusion matrix of pixels, and the images
        with the largest share of wrong pixels: the picture, with the true and with the predicted
        regions.

    Raises:
        UserError: If there is no example.
    """
    total = np.zeros((len(class_names), len(class_names)), np.int64)
    count, worst = 0, []
    for batch in batches:
        real = batch["weight"] > 0
        predicted = outputs(batch)["classes"][real]
        for mask, classes in zip(batch["mask"][real], predicted, strict=True):
            counts = confusion(mask, classes, len(class_names))
            total += counts
            worst.append((count, _image(counts, classes)))
            count += 1
        worst = sorted(worst, key=lambda pair: -pair[1].wrong)[:NUM_MISTAKES]
    if not count:
        raise UserError("the evaluation split has no examples")
    mistakes = tuple(
        _mistake(index, image, examples, class_names) for index, image in worst if image.wrong > 0
    )
    return Evaluation(overlap(total), step, count, class_names, total, mistakes, unit="pixels")


def confusion(
    mask: UInt8[np.ndarray, "height width"],
    predicted: UInt8[np.ndarray, "height width"],
    num_classes: int,
) -> Int[np.ndarray, "classes classes"]:
    """[true, predicted] pixels; those that are ignored are left out."""
    real = mask != IGNORED
    cells = mask[real].astype(np.int64) * num_classes + predicted[real]
    counts = np.bincount(cells, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def _image(
    counts: Int[np.ndarray, "classes classes"], classes: UInt8[np.ndarray, "height width"]
) -> _Image:
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    true, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return _Image(float(wrong.sum() / max(1, counts.sum())), int(true), int(predicted), classes)


def _mistake(
    index: int, image: _Image, examples: Examples, class_names: tuple[str, ...]
) -> Mistake:
    example = examples[index]
    picture, mask = np.asarray(example["image"]), np.asarray(example["mask"])
    drawn = (overlay.drawn(picture, classes) for classes in (mask, image.classes))
    shown = np.concatenate([overlay.rgb(picture), *drawn], axis=1)
    true, predicted = class_names[image.true], class_names[image.predicted]
    return Mistake(
        image=shown, true=true, predicted=predicted, probability=image.wrong, index=index
    )
