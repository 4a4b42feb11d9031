"""How like real images made ones are: by a discriminator, and by the features of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cnn import data
from cnn.errors import UserError
from cnn.evaluators.classification import Examples, HostBatch
from cnn.evaluators.subject import Subject
from cnn.report.evaluation import Evaluation
from cnn.report.measurement import Measurement, Table

SURE = 0.9
"""The probability of its first class above which an image is recognised."""
NEIGHBOURS = 3
_BLOCK = 1000

Features = Float[np.ndarray, "images features"]
Others = Float[np.ndarray, "others features"]


def examine_scores(
    outputs: Callable[[HostBatch], Mapping[str, np.ndarray]],
    batches: Iterable[HostBatch],
    examples: Examples,
    class_names: tuple[str, ...],
    step: int,
) -> Evaluation:
    """What the discriminator says of a split, and of as many images that the generator makes.

    Args:
        outputs: Batch -> `real_score` and `made_score` [batch].
        batches: All of them; padding has weight 0.
        examples: Not read.
        class_names: Not read: made images have no class.
        step: Of the networks, for the record.

    Returns:
        Metrics: the means of both scores, and `told_apart`, the share of pairs of a real and a made
        image of which the real one has the higher score; where they are alike it is 0.5.

    Raises:
        UserError: If there is no example.
    """
    del examples, class_names
    found = _of_all(outputs, batches, ("real_score", "made_score"))
    real, made = found["real_score"], found["made_score"]
    means = {name: float(values.mean()) for name, values in found.items()}
    return _evaluation({"told_apart": ranked_above(real, made), **means}, step, len(real))


def examine_means(
    names: tuple[str, ...],
    outputs: Callable[[HostBatch], Mapping[str, np.ndarray]],
    batches: Iterable[HostBatch],
    examples: Examples,
    class_names: tuple[str, ...],
    step: int,
) -> Evaluation:
    """What a task says of each image of a split, as means.

    Args:
        names: Of those outputs, which the metrics have too.
        outputs: Batch -> each [batch].
        batches: All of them; padding has weight 0.
        examples: Not read.
        class_names: Not read.
        step: Of the networks, for the record.

    Raises:
        UserError: If there is no example.
    """
    del examples, class_names
    found = _of_all(outputs, batches, names)
    metrics = {name: float(values.mean()) for name, values in found.items()}
    return _evaluation(metrics, step, len(found[names[0]]))


def _of_all(
    outputs: Callable[[HostBatch], Mapping[str, np.ndarray]],
    batches: Iterable[HostBatch],
    names: tuple[str, ...],
) -> dict[str, Float[np.ndarray, " examples"]]:
    """The outputs of all examples, padding left out."""
    parts = []
    for batch in batches:
        found, real = outputs(batch), batch["weight"] > 0
        parts.append([found[name][real].astype(np.float64) for name in names])
    if not sum(len(part[0]) for part in parts):
        raise UserError("the evaluation split has no examples")
    columns = zip(*parts, strict=True)
    return {name: np.concatenate(part) for name, part in zip(names, columns, strict=True)}


def _evaluation(metrics: Mapping[str, float], step: int, count: int) -> Evaluation:
    return Evaluation(metrics, step, count, (), np.zeros((0, 0), np.int64), (), unit="images")


def ranked_above(real: Float[np.ndarray, " real"], made: Float[np.ndarray, " made"]) -> float:
    """The share of pairs whose real score is the higher; a pair of equals counts half."""
    ordered = np.sort(made)
    below = np.searchsorted(ordered, real, "left") + np.searchsorted(ordered, real, "right")
    return float(below.sum() / (2 * len(real) * len(made)))


class Gaussian(NamedTuple):
    """Mean and covariance of features."""

    mean: Float[np.ndarray, " features"]
    covariance: Float[np.ndarray, "features features"]

    @classmethod
    def of(cls, features: Features) -> Gaussian:
        """Of a sample of at least two, the covariance without bias."""
        wide = features.astype(np.float64)
        return cls(wide.mean(axis=0), np.atleast_2d(np.cov(wide, rowvar=False)))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|difference of means|^2 + tr(A + B - 2 (A B)^(1/2)) of covariances A and B.

    Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", equation 6. The trace of the root is by eigenvalues of A^(1/2) B A^(1/2), which is
    symmetric, so a singular covariance is no trouble.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    common = np.linalg.eigvalsh(root @ other.covariance @ root)
    shared = np.sqrt(np.maximum(common, 0)).sum()
    apart = np.square(one.mean - other.mean).sum()
    total = apart + np.trace(one.covariance) + np.trace(other.covariance) - 2 * shared
    return max(0.0, float(total))


def precision_recall(real: Features, made: Others, k: int = NEIGHBOURS) -> tuple[float, float]:
    """(share of made images among the real ones, share of real images among the made ones).

    Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative
    models", equations 1 and 2: an image is among others where it is as near to one of them as that
    one's k-th nearest neighbour is. The first is how good images are, the second how various.

    Raises:
        UserError: If there are not more than k images of each.
    """
    if min(len(real), len(made)) <= k:
        raise UserError(
            f"precision and recall by {k} neighbours need more than {k} images, and there are "
            f"{len(real)} real and {len(made)} made ones (--num)"
        )
    return _share_among(made, real, k), _share_among(real, made, k)


def _share_among(images: Features, others: Others, k: int) -> float:
    # Here, since training imports this file and scipy takes its time.
    from scipy.spatial.distance import cdist

    # Of the k + 1 nearest the first is the image itself.
    radii = np.concatenate(
        [np.partition(cdist(block, others), k, axis=1)[:, k] for block in _blocks(others)]
    )
    inside = [(cdist(block, others) <= radii[None]).any(axis=1) for block in _blocks(images)]
    return float(np.concatenate(inside).mean())


def _blocks(features: Features) -> list[Float[np.ndarray, "block features"]]:
    wide = features.astype(np.float64)
    return [wide[start : start + _BLOCK] for start in range(0, len(wide), _BLOCK)]


def measure(
    subject: Subject,
    made: UInt8[np.ndarray, "images height width channels"],
    real: data.Source,
    step: int,
) -> Measurement:
    """How a classifier sees made images beside real ones.

    Args:
        subject: The classifier, whose features are compared.
        made: Images of a generator.
        real: Real ones.
        step: Of the generator, for the record.

    Returns:
        Metrics `fid`, `precision` and `recall` of the features; `recognised`, the share of made
        images of which the classifier gives one class a probability above 0.9, and
        `recognised_real`, that of the real ones; and how often each class is the first.

    Raises:
        UserError: If the classifier has no features, or there are too few images.
    """
    info = data.SourceInfo("made images", subject.class_names)
    source = data.ArraySource(made, np.zeros(len(made), np.int64), info)
    (of_made, _), (of_real, _) = (subject.all_features(each) for each in (source, real))
    precision, recall = precision_recall(of_real, of_made)
    sure, sure_real = (_probabilities(subject, each) for each in (source, real))
    metrics = {
        "fid": frechet_distance(Gaussian.of(of_real), Gaussian.of(of_made)),
        "precision": precision,
        "recall": recall,
        "recognised": float((sure.max(axis=-1) > SURE).mean()),
        "recognised_real": float((sure_real.max(axis=-1) > SURE).mean()),
    }
    counts = [np.bincount(x.argmax(axis=-1), minlength=x.shape[-1]) for x in (sure, sure_real)]
    rows = zip(subject.class_names, *(count.tolist() for count in counts), strict=True)
    table = Table(
        "images by the class that they are taken for", ("class", "made", "real"), (*rows,)
    )
    settings = {"set": real.info.name, "real images": len(real), "recognised above": SURE}
    return Measurement("generation", step, len(made), settings, metrics, (table,))


def _probabilities(subject: Subject, source: data.Source) -> Float[np.ndarray, "images classes"]:
    logits = np.concatenate([logits for logits, _ in subject.logits(source)]).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)
