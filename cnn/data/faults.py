"""Examples that cannot be read: passed over in training, counted, and not too many of them."""

from __future__ import annotations

import logging
import threading
from typing import Any

from cnn.data.contract import Derived, Example, Source
from cnn.errors import UserError

MAX_SHARE = 0.01
"""Of the examples; training stops where more cannot be read."""
LOG = logging.getLogger("cnn.data")


class Faults:
    """Which examples of a source could not be read, with their errors; not too many of them.

    A copy in another process counts for itself; `take` says what to note in the first.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._errors: dict[int, str] = {}
        self._new: dict[int, str] = {}
        self._lock = threading.Lock()

    def __contains__(self, index: int) -> bool:
        return index in self._errors

    def __len__(self) -> int:
        return len(self._errors)

    def note(self, index: int, error: str) -> None:
        """Counts a fault; one that is known already changes nothing.

        A warning is logged at the first, second, fourth, eighth... fault.

        Raises:
            UserError: If more than `MAX_SHARE` of the examples cannot be read.
        """
        with self._lock:
            if index in self._errors:
                return
            self._errors[index] = self._new[index] = error
            count = len(self._errors)
        if count > MAX_SHARE * self._total:
            raise UserError(
                f"{count:,} of the {self._total:,} examples of {self._name} cannot be read, more "
                f"than {MAX_SHARE:.0%}, the last: {error}; mend or remove them (cnn data inspect "
                "lists them)"
            )
        if count & (count - 1) == 0:
            LOG.warning(
                "skipped %d of the %d examples of %s: %s", count, self._total, self._name, error
            )

    def take(self) -> dict[int, str]:
        """The faults since this was asked last."""
        with self._lock:
            new, self._new = self._new, {}
        return new

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class Skipping(Derived):
    """Another source, in which the next readable example stands for one that cannot be read.

    The next one is that of index + 1, the first following the last: a rule of the index alone, so
    batches do not depend on hosts, threads, workers or where a run began. Unreadable ones keep
    their labels. The count, `faults`, is of this process and its workers.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.faults = Faults(source.info.name, len(source))

    def __getitem__(self, index: int, /) -> Example:
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if candidate in self.faults:
                continue
            try:
                return self._source[candidate]
            except UserError as error:
                self.faults.note(candidate, str(error))
        raise UserError(f"none of the {len(self):,} examples of {self.info.name} can be read")


def faults_of(source: Source) -> Faults | None:
    """The faults that a source notes; None where the first one stops it."""
    return getattr(source, "faults", None)
