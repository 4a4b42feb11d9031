"""ImageNet-ReaL: the validation images with all labels that people saw in them."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from cnn import data
from cnn.errors import UserError
from cnn.evaluators.subject import Subject
from cnn.report.measurement import Measurement

_NUMBER = re.compile(r"ILSVRC2012_val_0*(\d+)\.")


def measure(
    subject: Subject, source: data.Source, file_names: Sequence[str], path: str
) -> Measurement:
    """Accuracy where any of an image's labels is right; images without a label are left out.

    Beyer et al. 2020, "Are we done with ImageNet?", section 3. The validation files' own labels are
    not read.

    Args:
        subject: Of ImageNet's 1,000 classes in their order.
        source: The validation files, or some of them.
        file_names: Theirs.
        path: `real.json`: a list of lists of labels.

    Raises:
        UserError: If the labels do not fit the images or the classes.
    """
    labels = read(path, file_names, len(subject.class_names))
    predicted = np.concatenate([x.argmax(axis=-1) for x, _ in subject.logits(source)])
    right, labelled = compare(predicted, labels)
    count = int(labelled.sum())
    if not count:
        raise UserError(f"{path} has no label for any of the {len(labels):,} images")
    metrics = {"accuracy": float(right.sum() / count)}
    settings = {**subject.settings(source), "without label": len(labels) - count}
    return Measurement("imagenet_real", subject.step, count, settings, metrics)


def read(path: str, file_names: Sequence[str], num_classes: int) -> list[list[int]]:
    """The labels of each file.

    Entry n - 1 is of `ILSVRC2012_val_n.JPEG`. Files of other names are taken in the order of their
    names, and there must be as many entries.

    Raises:
        UserError: As `measure`.
    """
    try:
        entries = json.loads(pathlib.Path(path).expanduser().read_bytes())
    except OSError as error:
        raise UserError(f"cannot read --labels={path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--labels={path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, list) for entry in entries):
        raise UserError(f"--labels={path} must hold a list of lists of labels, as real.json does")
    found = [_NUMBER.search(name) for name in file_names]
    if all(found):
        places = [int(match[1]) - 1 for match in found if match]
    elif len(entries) != len(file_names):
        raise UserError(
            f"--labels={path} has {len(entries):,} entries for {len(file_names):,} images; it must "
            "have one an image, or the images their names ILSVRC2012_val_00000001.JPEG"
        )
    else:
        order = np.argsort(np.asarray(file_names), kind="stable")
        places = np.argsort(order, kind="stable").tolist()
    if max(places) >= len(entries):
        raise UserError(
            f"--labels={path} has {len(entries):,} entries, but there is an image number "
            f"{max(places) + 1:,}; give the real.json of all 50,000 validation images"
        )
    highest = max((label for entry in entries for label in entry), default=0)
    if highest >= num_classes:
        raise UserError(
            f"--labels={path} has the label {highest}, but the network has {num_classes} classes"
        )
    return [entries[place] for place in places]


def compare(
    predicted: Int[np.ndarray, " n"], labels: Sequence[Sequence[int]]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """(whether the prediction is among an image's labels, whether it has any)."""
    right = [int(guess) in known for guess, known in zip(predicted, labels, strict=True)]
    return np.asarray(right, bool), np.asarray([bool(known) for known in labels], bool)
