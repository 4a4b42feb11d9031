"""Non-maximum suppression: of boxes that are of one object, the surest; of static shapes.

One box is chosen a step, the surest that is left, and what it overlaps is put out or fades. That is
as many steps as boxes are kept and memory for one row of overlaps, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cnn.errors import unknown
from cnn.ops.boxes import iou

Boxes = Float[Array, "boxes 4"]
Scores = Float[Array, " boxes"]
Labels = Int[Array, " boxes"]
Fade = Callable[[Scores, Scores], Scores]
"""(scores, overlaps with the box that was chosen) -> the scores that are left."""


def nms(
    boxes: Boxes,
    scores: Scores,
    labels: Labels | None = None,
    *,
    iou_threshold: float,
    max_kept: int,
    at_first: int = 2048,
) -> Int[Array, " {max_kept}"]:
    """Greedy suppression: which boxes stay, the surest first; -1 is padding.

    Of equal scores the first box comes first.

    Args:
        boxes: Of one image, in any unit.
        scores: Minus infinity for a box that is none.
        labels: Boxes of different ones do not suppress each other; None is one for all.
        iou_threshold: A box goes that overlaps a surer one by more.
        max_kept: How many stay at most.
        at_first: Whether a box stays is decided by surer ones alone. So where there are many more,
            these surest are looked at, and all only if too few of them stay; at least 1.
    """

    def fade(left: Scores, overlap: Scores) -> Scores:
        return jnp.where(overlap > iou_threshold, -jnp.inf, left)

    def of_all() -> Array:
        return _choose(boxes, scores, labels, fade, max_kept)[0]

    if len(boxes) <= 2 * at_first:
        return of_all()
    surest, index = jax.lax.top_k(scores, at_first)
    few = None if labels is None else labels[index]
    chosen = _choose(boxes[index], surest, few, fade, max_kept)[0]
    chosen = jnp.where(chosen >= 0, index[chosen], -1)
    too_few = (chosen[-1] < 0) & (surest[-1] > -jnp.inf)
    # A loop of at most one turn: of several images `jax.lax.cond` would always compute both sides.
    return jax.lax.while_loop(
        lambda state: state[0], lambda _: (jnp.asarray(False), of_all()), (too_few, chosen)
    )[1]


def soft_nms(
    boxes: Boxes,
    scores: Scores,
    labels: Labels | None = None,
    *,
    max_kept: int,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
) -> tuple[Int[Array, " {max_kept}"], Float[Array, " {max_kept}"]]:
    """Suppression by degrees; Bodla et al. 2017, "Soft-NMS", equations 2 and 3.

    Args:
        boxes: As in `nms`.
        scores: As in `nms`.
        labels: As in `nms`.
        max_kept: As in `nms`.
        method: `linear`: a score is multiplied by 1 - IoU with a surer box where that is above
            `iou_threshold`; `gaussian`: by exp(-IoU^2 / sigma).
        sigma: Of `gaussian`.
        iou_threshold: Of `linear`.
        score_threshold: A box whose score falls below goes.

    Returns:
        Which boxes stay, the surest first, -1 being padding; and their scores after it all, 0 for
        padding.

    Raises:
        UserError: If there is no such method.
    """
    methods: dict[str, Fade] = {
        "linear": lambda left, overlap: jnp.where(
            overlap > iou_threshold, left * (1 - overlap), left
        ),
        "gaussian": lambda left, overlap: left * jnp.exp(-jnp.square(overlap) / sigma),
    }
    if method not in methods:
        raise unknown("method of soft NMS", method, methods)

    def fade(left: Scores, overlap: Scores) -> Scores:
        # What is gone stays so, and minus infinity times 0 is no number.
        there = left > -jnp.inf
        faded = methods[method](jnp.where(there, left, 0), overlap)
        return jnp.where(there & (faded >= score_threshold), faded, -jnp.inf)

    scores = jnp.where(scores >= score_threshold, scores, -jnp.inf)
    return _choose(boxes, scores, labels, fade, max_kept)


def _choose(
    boxes: Boxes, scores: Scores, labels: Labels | None, fade: Fade, max_kept: int
) -> tuple[Int[Array, " kept"], Float[Array, " kept"]]:
    """The surest box again and again, and its score at that time; -1 and 0 are padding."""
    if not len(boxes):
        return jnp.full(max_kept, -1, jnp.int32), jnp.zeros(max_kept, scores.dtype)

    def goes_on(state: tuple[Array, ...]) -> Bool[Array, ""]:
        count, left, _, _ = state
        return (count < max_kept) & (jnp.max(left) > -jnp.inf)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        count, left, chosen, values = state
        best = jnp.argmax(left).astype(jnp.int32)
        chosen = chosen.at[count].set(best)
        values = values.at[count].set(left[best])
        faded = fade(left, iou(boxes[best][None], boxes)[0])
        if labels is not None:
            faded = jnp.where(labels == labels[best], faded, left)
        return count + 1, faded.at[best].set(-jnp.inf), chosen, values

    start = (
        jnp.zeros((), jnp.int32),
        scores,
        jnp.full(max_kept, -1, jnp.int32),
        jnp.zeros(max_kept, scores.dtype),
    )
    _, _, chosen, values = jax.lax.while_loop(goes_on, step, start)
    return chosen, values
