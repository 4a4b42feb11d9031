"""What a step takes of each chip, and from that how long it lasts and what a training costs."""

from __future__ import annotations

from typing import NamedTuple

from cnn.plan import hlo
from cnn.plan.chips import Chip
from cnn.plan.hlo import Traffic


class Memory(NamedTuple):
    """Bytes on a chip while a step runs.

    Attributes:
        arguments: The state, the batch and what else the step is called with.
        temporaries: What lives within the step.
        outputs: Results that do not take the place of a donated argument.
    """

    arguments: int
    temporaries: int
    outputs: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Costs(NamedTuple):
    """What one step takes of one chip.

    Attributes:
        memory: Bytes held.
        flops: Floating-point operations, two for each multiply-accumulate.
        bytes_accessed: Bytes that operations read and write.
        traffic: Communication by kind.
        num_hosts: That the chips are in.
        is_estimate: Whether this is counted on the program before it is compiled: then operations
            are right, bytes and temporaries an upper bound, since nothing is fused.
    """

    memory: Memory
    flops: float
    bytes_accessed: float
    traffic: dict[str, Traffic]
    num_hosts: int
    is_estimate: bool


class OutOfMemory(Exception):
    """The compiler gave up: `needed` bytes of a chip are too many; 0 if it did not say how many."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes needed")
        self.needed = needed


class Roofline(NamedTuple):
    """The least time of a step by each of three limits, in seconds (Williams et al. 2009).

    Real steps take longer: limits are reached by no program for all of its time.
    """

    compute: float
    memory: float
    interconnect: float

    @property
    def seconds(self) -> float:
        """The largest: as if the three went on side by side."""
        return max(self)

    @property
    def bound_by(self) -> str:
        """Which limit that is."""
        return self._fields[self.index(self.seconds)]


def roofline(costs: Costs, chip: Chip) -> Roofline:
    """The limits of a chip on a step."""
    return Roofline(
        costs.flops / chip.flops,
        costs.bytes_accessed / chip.hbm_bandwidth,
        hlo.sent_bytes(costs.traffic) / chip.link_bandwidth,
    )
