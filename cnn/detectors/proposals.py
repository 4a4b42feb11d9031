"""Region proposal network: boxes that may hold an object, whatever its class.

Ren et al. 2015, "Faster R-CNN", section 3.1, on each map of a feature pyramid (Lin et al. 2017,
section 4.1).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax import lax
from jax.nn.initializers import normal
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int
from jaxtyping import Key as Keys

from cnn import nn, ops
from cnn.core import Key
from cnn.detectors.anchors import parts_of
from cnn.detectors.losses import box_loss, mean_of, safe_targets
from cnn.detectors.matching import NOTHING, Targets, match, sample_balanced
from cnn.detectors.selection import large, take

BETA = 1 / 9
"""Of the smooth L1 loss; a ninth is the square of a third, the authors' sigma being 3."""

_HIGH, _LOW = 0.7, 0.3
_POSITIVE_FRACTION = 0.5
_SMALLEST = 1e-3
_init = normal(0.01)

Anchors = Float[Array, "_ 4"]


class Outputs(NamedTuple):
    """What the head says of each anchor, those of the finest map first.

    Attributes:
        logits: That it is on an object.
        deltas: Of x, y, width and height.
        sizes: Height and width of each map.
    """

    logits: Float[Array, "batch anchors"]
    deltas: Float[Array, "batch anchors 4"]
    sizes: tuple[tuple[int, int], ...]


class Proposals(NamedTuple):
    """Boxes of each image, the surest first, in pixels; gradients do not go through them.

    Attributes:
        boxes: (y0, x0, y1, x1).
        real: Which are no padding.
    """

    boxes: Float[Array, "batch proposals 4"]
    real: Bool[Array, "batch proposals"]


class Head(linen.Module):
    """A 3x3 convolution, then a 1x1 for objects and one for boxes; the same for all maps.

    Attributes:
        num_anchors: Of a pixel.
        width: Channels between the convolutions.
        dtype: Of the computation; outputs are float32 or wider.
    """

    num_anchors: int
    width: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, maps: Sequence[Float[Array, "batch _ _ channels"]]) -> Outputs:
        """What each anchor is."""
        make = functools.partial(nn.Conv, use_bias=True, kernel_init=_init, dtype=self.dtype)
        conv = make(self.width, 3, name="conv")
        last = (
            make(self.num_anchors, 1, name="logits"),
            make(4 * self.num_anchors, 1, name="deltas"),
        )
        logits, deltas = [], []
        for x in maps:
            seen = linen.relu(conv(x))
            logits.append(last[0](seen).reshape(len(x), -1))
            deltas.append(last[1](seen).reshape(len(x), -1, 4))
        wide = jnp.promote_types(self.dtype, jnp.float32)
        sizes = tuple((x.shape[1], x.shape[2]) for x in maps)
        return Outputs(
            jnp.concatenate(logits, axis=1).astype(wide),
            jnp.concatenate(deltas, axis=1).astype(wide),
            sizes,
        )


def propose(
    outputs: Outputs,
    anchors: Sequence[Anchors],
    image: tuple[int, int],
    *,
    count: int,
    iou_threshold: float = 0.7,
) -> Proposals:
    """The surest boxes that do not overlap a surer one of their map by much.

    Args:
        outputs: Of the head.
        anchors: Of each map.
        image: Height and width.
        count: How many, and how many of each map are looked at.
        iou_threshold: As in `ops.nms`.
    """
    boxes, scores = [], []
    for part, of_map in zip(parts_of(anchors), anchors, strict=True):
        best, index = lax.top_k(outputs.logits[:, part], min(count, len(of_map)))
        decoded = ops.boxes.decode(take(outputs.deltas[:, part], index), of_map[index])
        boxes.append(ops.boxes.clip(decoded, image))
        scores.append(large(boxes[-1], best, smallest=_SMALLEST))
    sizes = [part.shape[1] for part in scores]
    most = max(sizes)
    # Each map by itself, all of them in the same turns: few, and over few boxes.
    gaps = [((0, 0), (0, most - size)) for size in sizes]
    padded = jnp.stack(
        [jnp.pad(x, (*gap, (0, 0))) for x, gap in zip(boxes, gaps, strict=True)], axis=1
    )
    known = jnp.stack(
        [jnp.pad(x, g, constant_values=-jnp.inf) for x, g in zip(scores, gaps, strict=True)], axis=1
    )
    nms = functools.partial(ops.nms, iou_threshold=iou_threshold, max_kept=most)
    kept = jax.vmap(jax.vmap(nms))(padded, known)
    index = jnp.maximum(kept, 0)
    left = jnp.where(kept >= 0, jnp.take_along_axis(known, index, axis=2), -jnp.inf)
    begins = most * jnp.arange(len(sizes), dtype=index.dtype).reshape(1, -1, 1)
    batch = len(left)
    best, place = lax.top_k(left.reshape(batch, -1), min(count, sum(sizes)))
    chosen = jnp.take_along_axis((index + begins).reshape(batch, -1), place, axis=1)
    real = best > -jnp.inf
    found = take(padded.reshape(batch, -1, 4), chosen)
    return Proposals(lax.stop_gradient(jnp.where(real[..., None], found, 0)), real)


def losses(
    outputs: Outputs,
    anchors: Sequence[Anchors],
    targets: Targets,
    keys: Keys[Array, " batch"],
    *,
    num_samples: int,
) -> dict[str, Float[Array, " batch"]]:
    """`proposal_class` and `proposal_box` of each image, over a sample of its anchors.

    Args:
        outputs: Of the head.
        anchors: Of each map.
        targets: The objects.
        keys: Of the draws, one for each image.
        num_samples: How many anchors of an image are looked at, at most half of them on objects.
    """
    every = jnp.concatenate(list(anchors))

    def of_image(
        logits: Float[Array, " anchors"],
        deltas: Float[Array, "anchors 4"],
        boxes: Float[Array, "objects 4"],
        labels: Int[Array, " objects"],
        key: Key,
    ) -> dict[str, Float[Array, ""]]:
        overlaps = ops.boxes.iou(boxes, every)
        matches = match(overlaps, labels >= 0, high=_HIGH, low=_LOW, keep_best=True)
        positive = matches >= 0
        chosen = sample_balanced(
            positive,
            matches == NOTHING,
            key,
            count=num_samples,
            positive_fraction=_POSITIVE_FRACTION,
        )
        positive &= chosen
        wanted = safe_targets(boxes[jnp.maximum(matches, 0)], every, positive, ops.boxes.EVEN)
        count = jnp.maximum(jnp.sum(chosen), 1).astype(deltas.dtype)
        entropy = optax.sigmoid_binary_cross_entropy(logits, positive.astype(logits.dtype))
        return {
            "proposal_class": mean_of(entropy, chosen),
            "proposal_box": box_loss(deltas, wanted, positive, beta=BETA) / count,
        }

    return jax.vmap(of_image)(outputs.logits, outputs.deltas, targets.boxes, targets.labels, keys)
