"""How well objects are found, as counts that add up over batches: average precision by histograms.

COCO's average precision (Lin et al. 2014) ranks the detections of all images at once, which is no
sum. Which of them are right is a matter of each image, though, so counts of right and wrong ones by
score are, and rank them up to the width of a bin. `cnn.evaluators.detection` has the exact ones.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, UInt32

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on an object is found, COCO's."""
BINS = 500
_RECALLS = np.linspace(0.0, 1.0, 101)
_EPSILON = 1e-6


class Ranked(NamedTuple):
    """Counts of detections by their class, the overlap that is asked for, and their score.

    Attributes:
        right: Detections that found an object.
        wrong: The others, but for those of objects that do not count.
        objects: Of each class.
    """

    right: UInt32[Array, "classes thresholds bins"]
    wrong: UInt32[Array, "classes thresholds bins"]
    objects: UInt32[Array, " classes"]

    @classmethod
    def of(
        cls,
        scores: Float[Array, "batch detections"],
        labels: Int[Array, "batch detections"],
        overlaps: Float[Array, "batch detections objects"],
        truth: Int[Array, "batch objects"],
        num_classes: int,
    ) -> Ranked:
        """Of images.

        Args:
            scores: The surest first.
            labels: -1 is padding.
            overlaps: IoU; with an object that does not count, the share of the detection.
            truth: The labels of the objects: -1 is padding, below it -2 - label does not count.
            num_classes: Labels are below it.
        """
        right, wrong = jax.vmap(_matched)(labels, overlaps, truth)
        bins = jnp.clip((scores * BINS).astype(jnp.int32), 0, BINS - 1)
        # A class more than there are, for what does not count.
        places = jnp.where(labels >= 0, labels, num_classes)
        steps = jnp.arange(len(THRESHOLDS)).reshape(1, 1, -1)

        def counted(
            flags: Bool[Array, "batch detections thresholds"],
        ) -> UInt32[Array, "_ thresholds bins"]:
            zeros = jnp.zeros((num_classes + 1, len(THRESHOLDS), BINS), jnp.uint32)
            where = (places[..., None], steps, bins[..., None])
            return zeros.at[where].add(flags.astype(jnp.uint32))[:-1]

        real = jnp.where(truth >= 0, truth, num_classes).reshape(-1)
        objects = jnp.zeros(num_classes + 1, jnp.uint32).at[real].add(1)[:-1]
        return cls(counted(right), counted(wrong), objects)

    def compute(self) -> dict[str, float]:
        """`ap`, `ap50` and `ap75` of fetched counts, NaN where there are no objects."""
        found = precisions(np.asarray(self.right), np.asarray(self.wrong), np.asarray(self.objects))
        known = found[np.asarray(self.objects) > 0]
        if not len(known):
            return {"ap": np.nan, "ap50": np.nan, "ap75": np.nan}
        by_threshold = known.mean(axis=0)
        return {
            "ap": float(by_threshold.mean()),
            "ap50": float(by_threshold[0]),
            "ap75": float(by_threshold[5]),
        }


def precisions(
    right: Integer[np.ndarray, "classes thresholds bins"],
    wrong: Integer[np.ndarray, "classes thresholds bins"],
    objects: Integer[np.ndarray, " classes"],
) -> Float[np.ndarray, "classes thresholds"]:
    """The average precision of each class: the mean over 101 recalls of the best from there on."""
    # From the highest score down.
    hits, misses = (np.cumsum(x[..., ::-1], axis=-1, dtype=np.float64) for x in (right, wrong))
    recall = hits / np.maximum(objects, 1)[:, None, None]
    precision = hits / np.maximum(hits + misses, 1)
    best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    best = np.concatenate([best, np.zeros((*best.shape[:2], 1))], axis=-1)
    places = np.sum(recall[..., None, :] < _RECALLS[:, None], axis=-1)
    return np.take_along_axis(best, places, axis=-1).mean(axis=-1)


def _matched(
    labels: Int[Array, " detections"],
    overlaps: Float[Array, "detections objects"],
    truth: Int[Array, " objects"],
) -> tuple[Bool[Array, "detections thresholds"], Bool[Array, "detections thresholds"]]:
    """Which detections of an image are right, and which wrong, at each threshold.

    As COCO's own code: in the order of scores each takes the object of its class that it overlaps
    most of those that are left; if it has none, it may lie on one that does not count.
    """
    limits = jnp.asarray(THRESHOLDS - _EPSILON, jnp.float32)[:, None]
    counts, silent = truth >= 0, -2 - truth

    def step(
        taken: Bool[Array, "thresholds objects"], detection: tuple[Array, Array]
    ) -> tuple[Bool[Array, "thresholds objects"], tuple[Array, Array]]:
        label, overlap = detection
        near = overlap[None] >= limits
        free = near & ~taken & ((truth == label) & counts)[None]
        best = jnp.argmax(jnp.where(free, overlap[None], -1.0), axis=1)
        right = jnp.any(free, axis=1) & (label >= 0)
        excused = jnp.any(near & (silent == label)[None], axis=1)
        taken |= (jnp.arange(len(truth))[None] == best[:, None]) & right[:, None]
        return taken, (right, (label >= 0) & ~right & ~excused)

    start = jnp.zeros((len(THRESHOLDS), len(truth)), bool)
    _, found = jax.lax.scan(step, start, (labels, overlaps))
    return found
