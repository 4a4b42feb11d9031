"""Examples that cannot be read: passed over in training, counted, and not too many of them."""

from __future__ import annotations

import logging
import threading

import numpy as np

from cnn.data.contract import Example, Source, SourceInfo, labels_of
from cnn.errors import UserError

MAX_SHARE = 0.01
"""Of the examples; training stops where more cannot be read."""
LOG = logging.getLogger("cnn.data")


class Skipping:
    """Another source, in which the next readable example stands for one that cannot be read.

    The next one is that of index + 1, the first following the last: a rule of the index alone, so
    batches do not depend on hosts, threads or where a run began. A warning is logged at the first,
    second, fourth, eighth... fault. The count is of this process.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._faults: dict[int, str] = {}
        self._lock = threading.Lock()

    @property
    def info(self) -> SourceInfo:
        """That of the other source."""
        return self._source.info

    @property
    def labels(self) -> np.ndarray:
        """Those of the other source, for the unreadable ones too."""
        return labels_of(self._source)

    @property
    def num_skipped(self) -> int:
        """How many examples could not be read so far."""
        return len(self._faults)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if candidate in self._faults:
                continue
            try:
                return self._source[candidate]
            except UserError as error:
                self._note(candidate, error)
        raise UserError(f"none of the {len(self):,} examples of {self.info.name} can be read")

    def _note(self, index: int, error: UserError) -> None:
        with self._lock:
            self._faults[index] = str(error)
            count, total = len(self._faults), len(self)
        if count > MAX_SHARE * total:
            raise UserError(
                f"{count:,} of the {total:,} examples of {self.info.name} cannot be read, more "
                f"than {MAX_SHARE:.0%}, the last: {error}; mend or remove them (cnn data inspect "
                "lists them)"
            ) from error
        if count & (count - 1) == 0:
            LOG.warning(
                "skipped %d of the %d examples of %s: %s", count, total, self.info.name, error
            )
