"""Arrays handed from one process to another in shared memory, in segments that are used again.

Through a pipe a batch of 128 images of 224 pixels takes several times as long, and so does a new
segment for each, whose pages the kernel has to clear.
"""

from __future__ import annotations

import contextlib
from multiprocessing.shared_memory import SharedMemory
from typing import NamedTuple

import numpy as np


class Packed(NamedTuple):
    """Arrays in a segment, one behind the other: its name, and by key each one's shape and type."""

    segment: str
    specs: dict[str, tuple[tuple[int, ...], str]]


class Sender:
    """Writes arrays into segments."""

    def __init__(self) -> None:
        self._mapped: dict[str, SharedMemory] = {}

    def pack(self, arrays: dict[str, np.ndarray], segment: str | None) -> Packed:
        """Writes them into a segment, or into a new one where that is None or too small."""
        size = max(1, sum(array.nbytes for array in arrays.values()))
        memory = self._mapped.pop(segment, None) if segment is not None else None
        if memory is None and segment is not None:
            memory = SharedMemory(segment)
        if memory is None or memory.size < size:
            if memory is not None:
                memory.unlink()
                memory.close()
            memory = SharedMemory(create=True, size=size)
        self._mapped[memory.name] = memory
        start = 0
        for array in arrays.values():
            np.ndarray(array.shape, array.dtype, memory.buf, start)[...] = array
            start += array.nbytes
        specs = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
        return Packed(memory.name, specs)


class Receiver:
    """Copies arrays out of segments, and has those that can be used again."""

    def __init__(self) -> None:
        self._mapped: dict[str, SharedMemory] = {}
        self._free: list[str] = []

    def free_segment(self) -> str | None:
        """A segment to send to; None where a new one is needed."""
        return self._free.pop() if self._free else None

    def unpack(self, packed: Packed) -> dict[str, np.ndarray]:
        """Copies of the arrays; then their segment is free."""
        memory = self._map(packed.segment)
        arrays, start = {}, 0
        for name, (shape, dtype) in packed.specs.items():
            arrays[name] = np.ndarray(shape, dtype, memory.buf, start).copy()
            start += arrays[name].nbytes
        self._free.append(packed.segment)
        return arrays

    def drop(self, segment: str) -> None:
        """Gives a segment back to the system, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            memory = self._map(segment)
            del self._mapped[segment]
            memory.close()
            memory.unlink()

    def close(self) -> None:
        """Gives back all that were received."""
        for segment in list(self._mapped):
            self.drop(segment)

    def _map(self, segment: str) -> SharedMemory:
        if segment not in self._mapped:
            self._mapped[segment] = SharedMemory(segment)
        return self._mapped[segment]
