"""This process and its machine: memory in bytes, cores, processor; starts no JAX."""

from __future__ import annotations

import os
import pathlib
import platform
import re
import sys

_PROCESS = pathlib.Path("/proc/self")
_MACHINE = pathlib.Path("/proc/meminfo")
_GROUP = pathlib.Path("/sys/fs/cgroup")


def reset_peak() -> None:
    """Lets `peak` begin again from what is used now; where the system cannot, does nothing."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return


def peak() -> int:
    """The most resident memory of this process since `reset_peak`, else since its start."""
    found = _kilobytes(_PROCESS / "status", "VmHWM")
    if found is not None:
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available() -> int | None:
    """What could be allocated without swapping, within the container's limit; None if unknown."""
    free = _kilobytes(_MACHINE, "MemAvailable")
    if free is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
    try:
        limit = int((_GROUP / "memory.max").read_text())
        return min(free, limit - int((_GROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return free


def num_cores() -> int:
    """Cores that this process may use, as XLA counts its threads."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor() -> str:
    """What the processor calls itself."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _kilobytes(path: pathlib.Path, field: str) -> int | None:
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
