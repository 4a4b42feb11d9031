"""What an epoch of training draws: all examples once, classes balanced, several views of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64, Integer, Shaped

from cnn.data.contract import Example, Source, SourceInfo, labels_of
from cnn.data.faults import Skipping
from cnn.errors import UserError, unknown

_ON_ERROR = ("raise", "skip")
_DRAW_STREAM = 1 << 62
"""Set in the half of a Philox key that holds the epoch, it parts the draws from the order."""


def make_sampling(
    source: Source,
    *,
    fraction: float = 1.0,
    balance: float = 0.0,
    repeats: int = 1,
    on_error: str = "skip",
) -> Source:
    """The training source as it is drawn from; an epoch stays as long as the source.

    Args:
        source: The training examples.
        fraction: Share of each class that is trained on, in (0, 1], at least one example; always
            the same ones, and those of a smaller share are among those of a larger.
        balance: Examples of a class of n are drawn in proportion to n to the power of minus this:
            0 draws each example once an epoch, 1 all classes equally often, 0.5 is between
            (Mahajan et al. 2018, "Exploring the limits of weakly supervised pretraining").
        repeats: Each example drawn comes so many times in a row, augmented differently, and an
            epoch has fewer different ones (Hoffer et al. 2020, "Augment your batch"; 3 in DeiT).
        on_error: "skip" passes over images that cannot be read, with a warning, and stops when they
            are more than one in a hundred; "raise" stops at the first. An evaluation always does.

    Raises:
        UserError: If a value is out of its range.
    """
    if on_error not in _ON_ERROR:
        raise unknown("sampling.on_error", on_error, _ON_ERROR)
    if not 0 < fraction <= 1:
        raise UserError(f"sampling.fraction must be above 0 and at most 1, got {fraction}")
    if not balance >= 0:
        raise UserError(f"sampling.balance must be at least 0, got {balance}")
    if repeats < 1:
        raise UserError(f"sampling.repeats must be at least 1, got {repeats}")
    if fraction < 1:
        source = Subset(source, stratified(labels_of(source), fraction))
    if on_error == "skip":
        source = Skipping(source)
    if balance == 0 and repeats == 1:
        return source
    weights = balanced_weights(labels_of(source), balance) if balance else None
    return Drawn(source, weights, repeats)


class Subset:
    """Some examples of a source, in any order, also several times."""

    def __init__(self, source: Source, indices: Sequence[int] | Integer[np.ndarray, " n"]) -> None:
        self._source = source
        self._indices = np.asarray(indices, np.int64)

    @property
    def info(self) -> SourceInfo:
        """That of the whole."""
        return self._source.info

    @property
    def labels(self) -> np.ndarray:
        """By position in the subset."""
        return labels_of(self._source)[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Example:
        return self._source[int(self._indices[index])]


class Concatenation:
    """Sources of the same classes, one behind the other.

    Raises:
        UserError: If their classes differ.
    """

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])
        first = sources[0].info
        for source in sources[1:]:
            if source.info[1:] != first[1:]:
                raise UserError(
                    f"{first.name} and {source.info.name} cannot be one data set: their classes "
                    f"differ ({', '.join(first.class_names[:5])}, ... and "
                    f"{', '.join(source.info.class_names[:5])}, ...)"
                )
        self.info = first._replace(name=" + ".join(source.info.name for source in sources))

    @property
    def labels(self) -> np.ndarray:
        """Of all parts."""
        return np.concatenate([labels_of(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int, /) -> Example:
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        return self._sources[part][index - start]


class Drawn:
    """A source that says itself which examples an epoch draws, and in what order."""

    def __init__(
        self, source: Source, weights: Float[np.ndarray, " examples"] | None, repeats: int
    ) -> None:
        self._source = source
        self._weights = weights
        self._repeats = repeats

    @property
    def info(self) -> SourceInfo:
        """That of the source."""
        return self._source.info

    @property
    def labels(self) -> np.ndarray:
        """Those of the source."""
        return labels_of(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        return self._source[index]

    def draw(
        self, seed: int, epoch: int, order: Int64[np.ndarray, " examples"]
    ) -> Int64[np.ndarray, " examples"]:
        """The examples of an epoch whose shuffle is `order`: a function of (seed, epoch)."""
        if self._weights is not None:
            order = weighted_draws(self._weights, seed, epoch)[order]
        different = -(-len(order) // self._repeats)
        return np.repeat(order[:different], self._repeats)[: len(order)]


def balanced_weights(
    labels: Shaped[np.ndarray, "examples ..."], balance: float
) -> Float[np.ndarray, " examples"]:
    """Of each example, the size of its class to the power of minus `balance`.

    Raises:
        UserError: If the labels are no numbers of classes.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError("sampling by class needs one class an example (data.options.table.target)")
    counts = np.bincount(labels)
    return counts[labels] ** -float(balance)


def weighted_draws(
    weights: Float[np.ndarray, " examples"], seed: int, epoch: int
) -> Int64[np.ndarray, " examples"]:
    """As many indices as there are weights, each in proportion to its weight, in rising order.

    Systematic sampling: the marks (k + u) / n, with one random u an epoch, are laid on the running
    sum of the weights. An example that is due 2.3 times comes 2 or 3 times, and one that is due 0.3
    times comes in three epochs of ten.
    """
    bits = np.random.Philox(key=np.array([seed, _DRAW_STREAM | epoch], np.uint64))
    # The 53 upper bits, as NumPy itself makes a double of a word.
    start = (int(bits.random_raw()) >> 11) * 2.0**-53
    running = np.cumsum(weights, dtype=np.float64)
    marks = (np.arange(len(weights)) + start) * (running[-1] / len(weights))
    return np.minimum(np.searchsorted(running, marks, side="right"), len(weights) - 1)


def stratified(
    labels: Shaped[np.ndarray, "examples ..."], fraction: float
) -> Int64[np.ndarray, " chosen"]:
    """Indices of a share of each class, rising; of all examples, where labels are no classes."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        labels = np.zeros(len(labels), np.int64)
    words = np.random.Philox(key=np.zeros(2, np.uint64)).random_raw(len(labels))
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(members)))
        chosen.append(members[np.argsort(words[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))
