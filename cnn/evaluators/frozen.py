"""The features of a training and a test set, computed once for all that is learnt on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cnn import data
from cnn.evaluators.subject import Subject


class Frozen(NamedTuple):
    """Features and labels; the classes are the sets' own, not the network's."""

    train: Float[np.ndarray, "train features"]
    train_labels: Int[np.ndarray, " train"]
    test: Float[np.ndarray, "test features"]
    test_labels: Int[np.ndarray, " test"]
    num_classes: int
    step: int
    name: str


def extract(subject: Subject, sources: data.Sources) -> Frozen:
    """The features of the centre of every picture. Raises a UserError where there are none."""
    return Frozen(
        *subject.all_features(sources.train),
        *subject.all_features(sources.eval),
        len(sources.train.info.class_names),
        subject.step,
        sources.eval.info.name,
    )
