"""A trained classifier as evaluations see it: of a run or of weights, the same to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from cnn import data, parallel
from cnn.core import Task
from cnn.errors import UserError

View = Callable[[np.ndarray], np.ndarray]


class Subject(NamedTuple):
    """What is evaluated.

    Attributes:
        strategy: How batches come to the devices.
        state: Laid out.
        predict: (state, laid out batch) -> `logits`, laid out.
        features: The same for features; None where the task has none.
        preprocess: A picture -> what the network sees of its centre.
        views: A picture -> what it sees of it, once or in several views that are averaged.
        seen: The name of those views, for the record.
        class_names: In the order of the logits.
        step: Of a run's checkpoint; 0 for weights.
        batch_size: Examples that are computed at once.
        num_threads: That prepare them.
    """

    strategy: parallel.Strategy
    state: Any
    predict: Callable[..., Any]
    features: Callable[..., Any] | None
    preprocess: data.Preprocess
    views: View
    seen: str
    class_names: tuple[str, ...]
    step: int
    batch_size: int
    num_threads: int

    def settings(self, source: data.Source) -> dict[str, Any]:
        """What numbers of a set of pictures depend on."""
        averaged = {} if self.seen == "center" else {"views": self.seen}
        return {"set": source.info.name, **averaged}

    def batches(self, source: data.Source, view: View | None = None) -> Iterator[Any]:
        """All examples once, padding of weight 0; seen through `view`, which None makes `views`."""
        return data.eval_batches(
            source, view or self.views, batch_size=self.batch_size, num_threads=self.num_threads
        )

    def logits(
        self, source: data.Source, view: View | None = None
    ) -> Iterator[tuple[Float[np.ndarray, "batch classes"], Int[np.ndarray, " batch"]]]:
        """Batch after batch (logits, labels), in the order of the source, without padding."""
        for batch in self.batches(source, view):
            found = self.predict(self.state, self.strategy.put(_without_label(batch)))
            real = batch["weight"] > 0
            yield self.strategy.fetch_examples(found)["logits"][real], batch["label"][real]

    def all_features(
        self, source: data.Source
    ) -> tuple[Float[np.ndarray, "n features"], Int[np.ndarray, " n"]]:
        """(features, labels) of all examples, of the centre of each.

        Raises:
            UserError: If the network has no features.
        """
        if self.features is None:
            raise UserError("this task has no features; frozen ones are of classifiers")
        features, labels = [], []
        for batch in self.batches(source, self.preprocess):
            found = self.features(self.state, self.strategy.put(_without_label(batch)))
            real = batch["weight"] > 0
            features.append(self.strategy.fetch_examples(found)[real])
            labels.append(batch["label"][real])
        return np.concatenate(features), np.concatenate(labels)


def make_subject(
    task: Task[Any],
    strategy: parallel.Strategy,
    state: Any,
    **rest: Any,
) -> Subject:
    """A subject whose functions are compiled once for all evaluations."""
    features = strategy.predict(task.features) if task.features else None
    return Subject(strategy, state, strategy.predict(task.predict), features, **rest)


def _without_label(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x for name, x in batch.items() if name != "label"}
