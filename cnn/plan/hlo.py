"""Communication between devices, counted in the text of a compiled program."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_DTYPE_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
# Share of the payload that each of n devices sends, in the algorithms without redundancy (Thakur,
# Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH").
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}
KINDS = tuple(_SENT)

_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) "
    r"(?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?P<start>-start)?"
    r"\((?P<rest>.*)$"
)
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) (?:\(.*)?.*\{\s*$")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_AXIS = re.compile(r"'(\w+)'(?::\(\d+\)(\d+))?")


class Traffic(NamedTuple):
    """All collectives of one kind in a step, on one device.

    Attributes:
        calls: How often one runs.
        payload_bytes: Of the whole arrays that are summed, gathered, scattered or moved.
        sent_bytes: What a device sends to others for them, at the least.
    """

    calls: int
    payload_bytes: int
    sent_bytes: float


def collectives(text: str, num_devices: int) -> dict[str, Traffic]:
    """The collectives of a program by kind, those inside loops as often as the loops turn.

    An asynchronous one is two instructions and counted once. A loop whose number of turns is not in
    the program counts once.

    Args:
        text: As `compiled.as_text()` gives it, of the program of one device.
        num_devices: Which all take part where an instruction names no groups.
    """
    lines = _by_computation(text)
    total: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for turns, line in _lines_run(lines, _entry(text), 1):
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        kind, size = match["kind"], _group_size(line, num_devices)
        payload = _payload(match, size)
        counts = total[kind]
        counts[0] += turns
        counts[1] += turns * payload
        counts[2] += turns * payload * (_SENT[kind](size) if size > 1 else 0.0)
    return {
        kind: Traffic(int(calls), int(payload), sent)
        for kind, (calls, payload, sent) in sorted(total.items())
    }


def sent_bytes(traffic: dict[str, Traffic]) -> float:
    """What a device sends in a step, over all kinds."""
    return sum((one.sent_bytes for one in traffic.values()), 0.0)


def _by_computation(text: str) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}") and (match := _COMPUTATION.match(line)):
            current = lines.setdefault(match["name"], [])
        else:
            current.append(line)
    return lines


def _entry(text: str) -> str:
    match = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    if match is None:
        raise ValueError("no entry computation in the program's text")
    return match[1]


def _lines_run(
    computations: dict[str, list[str]], name: str, turns: int
) -> Iterator[tuple[int, str]]:
    """How often each line runs, and the line, from a computation downwards."""
    for line in computations.get(name, ()):
        yield turns, line
        trips = _TRIPS.search(line)
        for called in _CALLED.findall(line):
            # The computation of a reduction is a scalar sum and calls nothing.
            yield from _lines_run(computations, called, turns * (int(trips[1]) if trips else 1))


def _group_size(line: str, num_devices: int) -> int:
    if match := _MESH.search(line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        # Of an axis that is cut, the part has its own size behind the name.
        return math.prod(int(part or sizes[name]) for name, part in _AXIS.findall(match[2]))
    if match := _IOTA.search(line):
        return int(match[2])
    if match := _LISTED.search(line):
        return len(match[1].split(",")) if match[1] else num_devices
    return num_devices


def _payload(match: re.Match[str], group_size: int) -> int:
    """Bytes of the whole array: the result, but where the result is a device's part of it."""
    arrays = [_bytes(*array) for array in _ARRAY.findall(match["shape"])]
    if match["start"] and match["kind"] in ("all-gather", "collective-permute", "all-to-all"):
        # Their result is (operands, results, context): the results are the largest of it.
        return max(arrays)
    if match["kind"] == "reduce-scatter":
        return sum(arrays) * group_size
    return sum(arrays)


def _bytes(dtype: str, dims: str) -> int:
    bits = _DTYPE_BITS.get(dtype) or int("".join(filter(str.isdigit, dtype.split("e")[0])) or 0)
    return math.prod(_numbers(dims)) * bits // 8


def _numbers(dims: str) -> Iterable[int]:
    return (int(size) for size in dims.split(",") if size)
