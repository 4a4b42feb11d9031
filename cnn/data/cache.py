"""A source that remembers what it has decoded, as far as a limit of memory allows."""

from __future__ import annotations

import threading
from typing import Any

from cnn.data.contract import Derived, Example, Source


class Cached(Derived):
    """Another source whose examples are kept in memory after the first reading.

    Once `max_bytes` of pixels are kept, the other examples are read anew each time. What it returns
    does not depend on what is kept. A copy in another process keeps nothing, since each would keep
    the same again.
    """

    def __init__(self, source: Source, *, max_bytes: int) -> None:
        super().__init__(source)
        self._free_bytes = max_bytes
        self._kept: dict[int, Example] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int, /) -> Example:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        example = self._source[index]
        example["image"].flags.writeable = False
        num_bytes = example["image"].nbytes
        if "mask" in example:
            example["mask"].flags.writeable = False
            num_bytes += example["mask"].nbytes
        with self._lock:
            if index not in self._kept and num_bytes <= self._free_bytes:
                self._free_bytes -= num_bytes
                self._kept[index] = example
        return example

    def __getstate__(self) -> dict[str, Any]:
        return {"_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_source"], max_bytes=0)
