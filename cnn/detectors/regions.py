"""The second stage of every R-CNN: what is in a proposed box, where exactly, which part of it.

Girshick 2015, "Fast R-CNN"; He et al. 2017, "Mask R-CNN", section 3. Class 0 is the background here
alone: a detector's class c is c + 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax import lax
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int
from jaxtyping import Key as Keys

from cnn import nn, ops
from cnn.core import Key
from cnn.detectors.contract import Detections
from cnn.detectors.losses import box_loss, mean_of, safe_targets
from cnn.detectors.matching import NOTHING, Targets, match, sample_balanced
from cnn.detectors.proposals import BETA, Proposals
from cnn.detectors.selection import above, detections_of, large

WEIGHTS: ops.boxes.Weights = (10.0, 10.0, 5.0, 5.0)
"""Of deltas, so that their deviations are about 1; Girshick 2015, section 2.3."""

_IOU = 0.5
_POSITIVE_FRACTION = 0.25
_SMALLEST = 1e-2
_uniform = variance_scaling(1 / 3, "fan_in", "uniform")

Cells = Float[Array, "batch boxes size size channels"]


class BoxOutputs(NamedTuple):
    """What the head says of each box.

    Attributes:
        logits: Of each class, the background first.
        deltas: For each class.
    """

    logits: Float[Array, "batch boxes classes"]
    deltas: Float[Array, "batch boxes classes 4"]


class BoxHead(linen.Module):
    """Two hidden dense layers, then one for classes and one for boxes.

    Attributes:
        num_classes: With the background.
        hidden_size: Of the hidden layers; 0 is none of them.
        dtype: Of the computation; outputs are float32 or wider.
    """

    num_classes: int
    hidden_size: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, cells: Cells) -> BoxOutputs:
        """What each box is."""
        make = functools.partial(nn.Dense, kernel_init=_uniform, dtype=self.dtype)
        x = self._hidden(cells, make) if self.hidden_size else cells.reshape(*cells.shape[:2], -1)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        logits = make(self.num_classes, name="logits")(x)
        deltas = make(4 * self.num_classes, name="deltas")(x)
        shape = (*deltas.shape[:-1], self.num_classes, 4)
        return BoxOutputs(logits.astype(wide), deltas.reshape(shape).astype(wide))

    def _hidden(
        self, cells: Cells, make: Callable[..., linen.Module]
    ) -> Float[Array, "batch boxes hidden"]:
        # The kernel keeps the axes of the grid: how a library flattens them is its conversion's.
        first = linen.DenseGeneral(
            self.hidden_size, (-3, -2, -1), kernel_init=_uniform, dtype=self.dtype, name="hidden0"
        )
        return linen.relu(make(self.hidden_size, name="hidden1")(linen.relu(first(cells))))


class MaskHead(linen.Module):
    """Four 3x3 convolutions, one that doubles the grid, and a 1x1; each class has its own mask.

    Attributes:
        num_classes: With the background.
        width: Channels of the convolutions.
        dtype: Of the computation; outputs are float32 or wider.
    """

    num_classes: int
    width: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, cells: Cells) -> Float[Array, "batch boxes _ _ classes"]:
        """The logits of a grid over each box."""
        x = cells.reshape(-1, *cells.shape[2:])
        for index in range(4):
            conv = nn.Conv(self.width, 3, use_bias=True, dtype=self.dtype, name=f"conv{index}")
            x = linen.relu(conv(x))
        x = linen.relu(nn.UpConv(self.width, dtype=self.dtype, name="up_conv")(x))
        x = nn.Conv(self.num_classes, 1, use_bias=True, dtype=self.dtype, name="logits")(x)
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        return x.reshape(*cells.shape[:2], *x.shape[1:])


class Sample(NamedTuple):
    """Boxes that the second stage learns from, those on objects first.

    Attributes:
        boxes: In pixels.
        real: Which are no padding.
        labels: With the background, 0.
        owners: Which object each is to find; means nothing on the background.
    """

    boxes: Float[Array, "batch samples 4"]
    real: Bool[Array, "batch samples"]
    labels: Int[Array, "batch samples"]
    owners: Int[Array, "batch samples"]


def sample(
    proposals: Proposals,
    targets: Targets,
    keys: Keys[Array, " batch"],
    *,
    count: int,
    background_iou: float = 0.0,
) -> Sample:
    """Draws from the proposals and the true boxes; Girshick 2015, section 2.3.

    Args:
        proposals: In training.
        targets: The objects.
        keys: Of the draws, one for each image.
        count: For each image, at most a quarter of them on objects.
        background_iou: A box that overlaps every object by less is not drawn, unless there is no
            object.
    """

    def of_image(
        boxes: Float[Array, "boxes 4"],
        real: Bool[Array, " boxes"],
        objects: Float[Array, "objects 4"],
        labels: Int[Array, " objects"],
        key: Key,
    ) -> Sample:
        overlaps, there = ops.boxes.iou(objects, boxes), labels >= 0
        matches = match(overlaps, there, high=_IOU, low=_IOU)
        near = jnp.max(jnp.where(there[:, None], overlaps, 0), axis=0) >= background_iou
        near |= ~jnp.any(there)
        positive, negative = real & (matches >= 0), real & near & (matches == NOTHING)
        chosen = sample_balanced(
            positive, negative, key, count=count, positive_fraction=_POSITIVE_FRACTION
        )
        order = chosen.astype(jnp.int32) + (chosen & positive)
        value, index = lax.top_k(order, min(count, len(boxes)))
        owners = jnp.maximum(matches[index], 0)
        wanted = jnp.where(value == 2, labels[owners] + 1, 0)
        return Sample(boxes[index], value > 0, wanted, owners)

    return jax.vmap(of_image)(
        jnp.concatenate([proposals.boxes, targets.boxes], axis=1),
        jnp.concatenate([proposals.real, targets.labels >= 0], axis=1),
        targets.boxes,
        targets.labels,
        keys,
    )


def num_positive(count: int) -> int:
    """How many of a sample's first boxes may be on objects."""
    return int(count * _POSITIVE_FRACTION)


def losses(
    outputs: BoxOutputs, chosen: Sample, targets: Targets, *, beta: float = BETA
) -> dict[str, Float[Array, " batch"]]:
    """`class` and `box` of each image; `beta` is that of `box_loss`."""

    def of_image(
        outputs: BoxOutputs, chosen: Sample, objects: Float[Array, "objects 4"]
    ) -> dict[str, Float[Array, ""]]:
        entropy = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, chosen.labels)
        on_object = chosen.real & (chosen.labels > 0)
        index = chosen.labels.reshape(-1, 1, 1)
        deltas = jnp.take_along_axis(outputs.deltas, index, axis=1)[:, 0]
        wanted = safe_targets(objects[chosen.owners], chosen.boxes, on_object, WEIGHTS)
        count = jnp.maximum(jnp.sum(chosen.real), 1).astype(deltas.dtype)
        return {
            "class": mean_of(entropy, chosen.real),
            "box": box_loss(deltas, wanted, on_object, beta=beta) / count,
        }

    return jax.vmap(of_image)(outputs, chosen, targets.boxes)


def mask_loss(
    logits: Float[Array, "batch samples grid grid classes"],
    chosen: Sample,
    masks: Float[Array, "batch objects height width"],
) -> Float[Array, " batch"]:
    """The binary cross-entropy of the mask of each box's own class; He et al. 2017, section 3."""
    size = logits.shape[2]

    def of_box(
        logits: Float[Array, "grid grid"],
        box: Float[Array, " 4"],
        mask: Float[Array, "height width"],
    ) -> Float[Array, ""]:
        seen = ops.roi_align(
            mask[None, :, :, None].astype(box.dtype), box[None, None], size=size, sampling_ratio=0
        )
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, seen[0, 0, :, :, 0]))

    def of_image(
        logits: Float[Array, "samples grid grid classes"],
        chosen: Sample,
        masks: Float[Array, "objects height width"],
    ) -> Float[Array, ""]:
        own = of_class(logits, chosen.labels)
        # One after another: masks of all boxes at once would be as many images.
        each = lax.map(
            lambda xs: of_box(xs[0], xs[1], masks[xs[2]]), (own, chosen.boxes, chosen.owners)
        )
        return mean_of(each, chosen.real & (chosen.labels > 0))

    return jax.vmap(of_image)(logits, chosen, masks)


def of_class(
    logits: Float[Array, "boxes grid grid classes"], labels: Int[Array, " boxes"]
) -> Float[Array, "boxes grid grid"]:
    """The mask of each box for its class."""
    return jnp.take_along_axis(logits, labels.reshape(-1, 1, 1, 1), axis=3)[..., 0]


def detect(
    outputs: BoxOutputs,
    proposals: Proposals,
    image: tuple[int, int],
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    suppression: str,
) -> Detections:
    """The detections, each class by itself.

    Args:
        outputs: Of the proposals.
        proposals: In pixels.
        image: Height and width.
        score_threshold: Below it nothing is a detection.
        nms_threshold: As in `ops.nms`.
        max_detections: For each image.
        suppression: As in `detections_of`.
    """
    deltas = outputs.deltas[:, :, 1:]
    start = jnp.broadcast_to(proposals.boxes[:, :, None], deltas.shape)
    boxes = ops.boxes.clip(ops.boxes.decode(deltas, start, WEIGHTS), image)
    scores = above(jax.nn.softmax(outputs.logits)[..., 1:], score_threshold)
    scores = jnp.where(proposals.real[..., None], scores, -jnp.inf)
    labels = jnp.broadcast_to(jnp.arange(scores.shape[-1])[None, None], scores.shape)
    # Probabilities sum to 1, so of a box no more classes than that can be above the threshold.
    most = int(1 / score_threshold) if score_threshold > 0 else scores.shape[-1]
    if most < scores.shape[-1]:
        scores, labels = lax.top_k(scores, most)
        boxes = jnp.take_along_axis(boxes, labels[..., None], axis=2)
    batch, listed = len(boxes), boxes.reshape(len(boxes), -1, 4)
    return detections_of(
        listed,
        large(listed, scores.reshape(batch, -1), smallest=_SMALLEST),
        labels.reshape(batch, -1),
        image,
        iou_threshold=nms_threshold,
        max_detections=max_detections,
        suppression=suppression,
    )
