"""Measurements that are sums over examples, beyond `cnn.core.Mean`."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, UInt32


class Confusion(NamedTuple):
    """How many pixels of each class were taken for each: whole numbers, so the order is all one.

    Attributes:
        counts: [true, predicted]; up to 2**32 - 1 each, which is 4,000 images of a megapixel.
    """

    counts: UInt32[Array, "classes classes"]

    @classmethod
    def of(
        cls,
        labels: Integer[Array, "batch height width"],
        predicted: Integer[Array, "batch height width"],
        real: Bool[Array, "batch height width"],
        num_classes: int,
    ) -> Confusion:
        """Of pixels; those that are not `real` count nowhere."""
        cells = labels.astype(jnp.int32) * num_classes + predicted.astype(jnp.int32)
        # One cell more than there are, for what does not count.
        cells = jnp.where(real, cells, num_classes**2)
        counts = jnp.zeros(num_classes**2 + 1, jnp.uint32).at[cells.reshape(-1)].add(1)
        return cls(counts[:-1].reshape(num_classes, num_classes))

    def compute(self) -> dict[str, float]:
        """As `overlap`; of fetched counts."""
        return overlap(np.asarray(self.counts))


def overlap(counts: Integer[np.ndarray, "classes classes"]) -> dict[str, float]:
    """What a confusion matrix says of regions, NaN where nothing was counted.

    Returns:
        `miou`: the mean over classes of intersection by union; `dice`: that of twice the
        intersection by the sum of both; `pixel_accuracy`: the share of right pixels. A class that
        is neither there nor predicted has no part in the means.
    """
    iou, dice = overlap_by_class(counts)
    known = np.isfinite(iou)
    if not known.any():
        return {"miou": np.nan, "dice": np.nan, "pixel_accuracy": np.nan}
    return {
        "miou": float(iou[known].mean()),
        "dice": float(dice[known].mean()),
        "pixel_accuracy": float(np.trace(counts.astype(np.float64)) / counts.sum(dtype=np.float64)),
    }


def overlap_by_class(
    counts: Integer[np.ndarray, "classes classes"],
) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, " classes"]]:
    """Intersection by union, and Dice's coefficient, of each class; NaN of one that never comes."""
    wide = counts.astype(np.float64)
    common = np.diag(wide)
    sums = wide.sum(axis=0) + wide.sum(axis=1)
    there = np.where(sums > 0, sums, np.nan)
    return common / (there - common), 2 * common / there
