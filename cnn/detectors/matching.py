"""Which anchor or proposal is to learn which object, and which of them a loss looks at."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cnn.core import Key
from cnn.detectors.contract import Objects

NOTHING = -1
"""Of an anchor that overlaps no object by enough: it is to learn that there is none."""

BETWEEN = -2
"""Of an anchor that is neither on an object nor clearly off all: it is to learn nothing."""

Overlaps = Float[Array, "objects anchors"]
Matches = Int[Array, " anchors"]
Real = Bool[Array, " objects"]


class Targets(NamedTuple):
    """The true objects of a batch in pixels of the image.

    Attributes:
        boxes: (y0, x0, y1, x1).
        labels: From 0 on; -1 is padding, as is an object whose box has no area.
    """

    boxes: Float[Array, "batch objects 4"]
    labels: Int[Array, "batch objects"]


def in_pixels(objects: Objects, image: tuple[int, int]) -> Targets:
    """The objects of a batch, at least one for each image, be it padding.

    Args:
        objects: Boxes in shares of the image.
        image: Height and width.
    """
    boxes, labels = objects.boxes, objects.labels
    if not labels.shape[1]:
        boxes = jnp.zeros((len(boxes), 1, 4), boxes.dtype)
        labels = jnp.full((len(labels), 1), -1, labels.dtype)
    boxes = boxes * jnp.asarray((*image, *image), boxes.dtype).reshape(1, 1, 4)
    has_area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    return Targets(boxes, jnp.where(has_area, labels, -1))


def match(
    overlaps: Overlaps, real: Real, *, high: float, low: float, keep_best: bool = False
) -> Matches:
    """The object of each anchor by its overlap, or `NOTHING` or `BETWEEN`.

    Ren et al. 2015, "Faster R-CNN", section 3.1.2.

    Args:
        overlaps: IoU of each object with each anchor.
        real: Which objects are no padding.
        high: From here on an anchor is of the object that it overlaps most.
        low: Below, it is of none.
        keep_best: Whether an object's best anchors, be the overlap ever so small, are those of the
            object that they overlap most, so that no object goes without.
    """
    overlaps = jnp.where(real[:, None], overlaps, -1)
    best, index = jnp.max(overlaps, axis=0), jnp.argmax(overlaps, axis=0).astype(jnp.int32)
    matches = jnp.where(best >= high, index, jnp.where(best < low, NOTHING, BETWEEN))
    if keep_best:
        most = jnp.max(overlaps, axis=1, keepdims=True)
        # An object that overlaps nothing has no best anchor.
        is_best = jnp.any((overlaps == most) & (most > 0), axis=0)
        matches = jnp.where(is_best, index, matches)
    return matches.astype(jnp.int32)


def match_each(overlaps: Overlaps, real: Real, *, threshold: float) -> Matches:
    """As `match` with one threshold, where every object has its best anchor to itself.

    Liu et al. 2016, "SSD", section 2.2. Of two objects with one best anchor the later has it.
    """
    matches = match(overlaps, real, high=threshold, low=threshold)
    best = jnp.argmax(overlaps, axis=1)
    # Beyond the end is dropped: padding has no anchor.
    place = jnp.where(real, best, overlaps.shape[1])
    order = jnp.arange(len(real), dtype=jnp.int32)
    owner = jnp.full(overlaps.shape[1], NOTHING, jnp.int32).at[place].max(order, mode="drop")
    return jnp.where(owner >= 0, owner, matches)


def sample_balanced(
    positive: Bool[Array, " anchors"],
    negative: Bool[Array, " anchors"],
    key: Key,
    *,
    count: int,
    positive_fraction: float,
) -> Bool[Array, " anchors"]:
    """A random choice of anchors; Ren et al. 2015, "Faster R-CNN", section 3.1.3.

    Args:
        positive: Those on an object.
        negative: Those on none.
        key: Of the draw.
        count: How many are chosen, if there are as many.
        positive_fraction: Of `count`, what positive ones are at most; negative ones are the rest.
    """
    most = int(count * positive_fraction)
    first, second = jax.random.split(key)
    chosen = _draw(positive, first, jnp.minimum(jnp.sum(positive), most), most)
    return chosen | _draw(negative, second, count - jnp.sum(chosen), count)


def _draw(
    among: Bool[Array, " anchors"], key: Key, wanted: Int[Array, ""], most: int
) -> Bool[Array, " anchors"]:
    """`wanted` of them, which are `most` at most."""
    priority = jnp.where(among, jax.random.uniform(key, among.shape), -1)
    values, index = jax.lax.top_k(priority, min(most, len(among)))
    taken = (values >= 0) & (jnp.arange(len(values)) < wanted)
    return jnp.zeros_like(among).at[index].set(taken)
