"""What JAX computes on in this process: its kind, its memory, its cache of programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from cnn.benchmark import host
from cnn.ops import onednn


def serve_library() -> bool:
    """Whether convolutions are a library's, whose programs JAX cannot keep."""
    return jax.default_backend() == "cpu" and onednn.is_known()


def keep_programs(directory: str) -> None:
    """Keeps every compiled program there, however small and quickly compiled."""
    jax.config.update("jax_compilation_cache_dir", directory)
    # JAX looks at the directory once only.
    compilation_cache.reset_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def describe() -> dict[str, Any]:
    """Device, how many of them, processor and cores, as JSON holds it."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "device": first.device_kind,
        "num_devices": jax.device_count(),
        "processor": host.processor(),
        "cores": host.num_cores(),
        "memory_bytes": host.available(),
    }


def available_bytes() -> int | None:
    """What is free on each device, or on a CPU in the machine; None if unknown."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return host.available()
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]


def peak_bytes() -> int | None:
    """The most memory so far: of the fullest device, on a CPU of this process; None if unknown."""
    if jax.default_backend() == "cpu":
        return host.peak()
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if "peak_bytes_in_use" in one]
    return max(peaks, default=None)


def wait_each(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, each waited for, so that calls never overlap."""
    began = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(function())
    return (time.perf_counter() - began) / repeats
