"""What an epoch of training draws: all examples once, classes balanced, several views of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int64, Integer, Shaped

from cnn.data.contract import Derived, Example, Source, ids_of, labels_of, parts_of
from cnn.data.faults import Faults, Skipping, faults_of
from cnn.errors import UserError, unknown

_ON_ERROR = ("raise", "skip")
_DRAW_STREAM = 1 << 62
"""Set in the half of a Philox key that holds the epoch, it parts the draws from the order."""


def make_sampling(
    source: Source,
    *,
    fraction: float = 1.0,
    balance: float = 0.0,
    weights: Sequence[float] = (),
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
        weights: Shares of the parts that were put together (`data.root` with several folders), one
            for each, above 0: (3, 1) draws three examples of the first for one of the second,
            however many they have. () draws each example once an epoch.
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
    chances = np.ones(len(source))
    if balance:
        chances = balanced_weights(labels_of(source), balance)
    if len(weights):
        chances = shared_weights(parts_of(source), chances, weights)
    if balance == 0 and not len(weights) and repeats == 1:
        return source
    return Drawn(source, chances if balance or len(weights) else None, repeats)


class Subset(Derived):
    """Some examples of a source, in any order, also several times."""

    def __init__(self, source: Source, indices: Sequence[int] | Integer[np.ndarray, " n"]) -> None:
        super().__init__(source)
        self._indices = np.asarray(indices, np.int64)

    @property
    def labels(self) -> np.ndarray:
        """By position in the subset."""
        return labels_of(self._source)[self._indices]

    @property
    def ids(self) -> Sequence[str]:
        """By position in the subset."""
        known = ids_of(self._source)
        return [known[int(index)] for index in self._indices]

    @property
    def parts(self) -> np.ndarray:
        """By position in the subset."""
        return parts_of(self._source)[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Example:
        return self._source[int(self._indices[index])]


class Mapped(Derived):
    """A source whose examples are changed when they are read."""

    def __init__(self, source: Source, change: Callable[[Example], Example]) -> None:
        super().__init__(source)
        self._change = change

    def __getitem__(self, index: int, /) -> Example:
        return self._change(self._source[index])


class Concatenation:
    """Sources one behind the other, with the classes of the first.

    Classes are the same by name; those that follow may lack some.

    Raises:
        UserError: If one has a class that the first has not, or targets of another kind.
    """

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])
        first = sources[0].info
        number = {name: label for label, name in enumerate(first.class_names)}
        self._labels: list[np.ndarray | None] = []
        for source in sources:
            names = source.info.class_names
            same = names == first.class_names
            renamed = first.target == "class" and all(name in number for name in names)
            if source.info.target != first.target or not (same or renamed):
                raise UserError(
                    f"{first.name} and {source.info.name} cannot be one data set: their classes "
                    f"differ ({', '.join(first.class_names[:5])}, ... and {', '.join(names[:5])}, "
                    "...)"
                )
            self._labels.append(None if same else np.asarray([number[name] for name in names]))
        self.info = first._replace(name=" + ".join(source.info.name for source in sources))

    @property
    def labels(self) -> np.ndarray:
        """Of all parts."""
        labels = [labels_of(source) for source in self._sources]
        return np.concatenate(
            [x if new is None else new[x] for x, new in zip(labels, self._labels, strict=True)]
        )

    @property
    def parts(self) -> np.ndarray:
        """Which of the sources each example is from."""
        return np.repeat(np.arange(len(self._sources)), [len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int, /) -> Example:
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        example, new = self._sources[part][index - start], self._labels[part]
        if new is None:
            return example
        return {**example, "label": int(new[example["label"]])}


class Drawn(Derived):
    """A source that says itself which examples an epoch draws, and in what order."""

    def __init__(
        self, source: Source, weights: Float[np.ndarray, " examples"] | None, repeats: int
    ) -> None:
        super().__init__(source)
        self._weights = weights
        self._repeats = repeats

    @property
    def faults(self) -> Faults | None:
        """Those of the source."""
        return faults_of(self._source)

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


def shared_weights(
    parts: Int64[np.ndarray, " examples"],
    weights: Float[np.ndarray, " examples"],
    shares: Sequence[float],
) -> Float[np.ndarray, " examples"]:
    """The weights, scaled so that those of each part add up to its share.

    Raises:
        UserError: If there are not as many shares as parts, or one is not above 0.
    """
    count = int(parts.max()) + 1
    if len(shares) != count or not all(share > 0 for share in shares):
        raise UserError(
            f"sampling.weights takes {count} number(s) above 0, one for each path in data.root, "
            f"got {tuple(shares)}"
        )
    totals = np.bincount(parts, weights, minlength=count)
    return weights * (np.asarray(shares, np.float64) / totals)[parts]


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


def spread_out(source: Source, num_examples: int) -> Source:
    """So many examples at equal distances, since many sets are sorted by class; 0 is all."""
    if not num_examples or num_examples >= len(source):
        return source
    return Subset(source, np.linspace(0, len(source) - 1, num_examples).round().astype(int))


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
