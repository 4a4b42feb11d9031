"""Several networks of one kind as one: the mean of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnn.errors import UserError
from cnn.pretrained.files import Tensor, Weights

Tensors = Mapping[str, Tensor]


def average(tensors: Sequence[Tensors], names: Sequence[str]) -> dict[str, Tensor]:
    """The mean of each tensor over several sets of weights, those of batch norm included.

    Wortsman et al. 2022, "Model soups", where networks share what they were fine-tuned from; those
    of trainings from other seeds do not lie in one basin, and their mean is worth nothing.

    Args:
        tensors: By name, the same names and shapes in each.
        names: What each is called, for the error.

    Raises:
        UserError: If one has other tensors than the first; names the first that differs.
    """
    first = tensors[0]
    for other, name in zip(tensors[1:], names[1:], strict=True):
        for tensor in sorted(first.keys() | other.keys()):
            left, right = (
                np.shape(part[tensor]) if tensor in part else None for part in (first, other)
            )
            if left != right:
                shown = [shape if shape is not None else "nothing" for shape in (left, right)]
                raise UserError(
                    f"{names[0]} and {name} are not of one network: {tensor!r} is {shown[0]} in "
                    f"the first and {shown[1]} in the other"
                )
    return {
        name: np.mean([part[name] for part in tensors], axis=0, dtype=np.float64).astype(
            np.asarray(value).dtype
        )
        for name, value in first.items()
    }


def greedy(
    tensors: Sequence[Tensors], names: Sequence[str], score: Callable[[Tensors], float]
) -> tuple[dict[str, Tensor], list[str], float]:
    """The mean of those that make it better: the best first, then each that does no harm.

    Wortsman et al. 2022, recipe 1. What is scored on chose the soup, so the score flatters it.

    Args:
        tensors: As for `average`.
        names: What each is called.
        score: Of a set of tensors; the more the better.

    Returns:
        The mean, the names of those in it, and its score.

    Raises:
        UserError: As `average`.
    """
    average(tensors, names)  # so that a stranger is found before anything is scored
    scores = [score(part) for part in tensors]
    # Of equals the one that was named first.
    order = sorted(range(len(tensors)), key=lambda at: -scores[at])
    chosen, best = order[:1], scores[order[0]]
    for at in order[1:]:
        tried = [*chosen, at]
        value = score(average([tensors[i] for i in tried], [names[i] for i in tried]))
        if value >= best:
            chosen, best = tried, value
    found = average([tensors[i] for i in chosen], [names[i] for i in chosen])
    return found, [names[i] for i in chosen], best


def check_one_network(weights: Sequence[Weights], names: Sequence[str]) -> None:
    """Raises a UserError where two say that they are of different networks or classes."""
    first = weights[0].facts
    for other, name in zip(weights[1:], names[1:], strict=True):
        for field in ("model", "fields", "class_names"):
            left, right = getattr(first, field), getattr(other.facts, field)
            if left and right and left != right:
                raise UserError(
                    f"{names[0]} and {name} are not of one network: {field} is {left!r} in the "
                    f"first and {right!r} in the other"
                )
