"""One operation and its gradients, and the matrix product that all is compared with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cnn import ops
from cnn.benchmark import devices, host
from cnn.benchmark.job import Operation, Prepared, Products

WARM_UP_CALLS = 2
# Large enough for the full rate of the device, small enough for a few hundredths of a second.
PRODUCT_SIZE = {"cpu": 2048}
PRODUCT_SIZE_ELSEWHERE = 8192


class JaxOperation:
    """An operation of `cnn.ops`, or one of its two gradients alone; a `worker.Side`.

    A gradient is timed without the forward pass that it follows in a network.

    Args:
        job: Which operation, and which part.
        stock: Plain `lax` operations instead of our formulations.
    """

    def __init__(self, job: Operation, *, stock: bool) -> None:
        self._job = job
        self._formulation = ops.stock if stock else contextlib.nullcontext
        self._call: Callable[[], Any] = lambda: None

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Compiles it for arrays of noise."""
        x, kernel = _arrays(self._job)
        function = _function(self._job)
        with self._formulation():
            if self._job.part == "forward":
                began = time.perf_counter()
                compiled = jax.jit(lambda x, w: function(x, w)).lower(x, kernel).compile()
                self._call = lambda: compiled(x, kernel)
                return Prepared(compile_seconds=time.perf_counter() - began)

            def forward(x: Any, w: Any) -> Any:
                if self._job.part == "dx":
                    return jax.vjp(lambda x: function(x, w), x)
                return jax.vjp(lambda w: function(x, w), w)

            y, back = jax.jit(forward)(x, kernel)
            began = time.perf_counter()
            gradient = jax.jit(lambda back, dy: back(dy)).lower(back, y).compile()
        self._call = lambda: gradient(back, y)
        return Prepared(compile_seconds=time.perf_counter() - began)

    def start(self) -> None:
        """Runs it twice."""
        host.reset_peak()
        self.run(WARM_UP_CALLS)

    def run(self, repeats: int) -> float:
        """Calls it, waiting each time; seconds of one call."""
        return devices.wait_each(self._call, repeats)

    def peak_bytes(self) -> int | None:
        """The most memory since `start`, of a device since the process began."""
        return devices.peak_bytes()


class JaxProducts:
    """The product of two square matrices; a `worker.Side`."""

    def __init__(self, job: Products) -> None:
        self._dtype = jnp.dtype(job.dtype)
        self._call: Callable[[], Any] = lambda: None
        self.size = PRODUCT_SIZE.get(jax.default_backend(), PRODUCT_SIZE_ELSEWHERE)

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Compiles it."""
        a, b = (
            jax.random.normal(key, (self.size, self.size), self._dtype)
            for key in jax.random.split(jax.random.key(0))
        )
        compiled = jax.jit(jnp.matmul).lower(a, b).compile()
        self._call = lambda: compiled(a, b)
        return Prepared()

    def start(self) -> None:
        """Runs it twice."""
        self.run(WARM_UP_CALLS)

    def run(self, repeats: int) -> float:
        """Multiplies; seconds of one product."""
        return devices.wait_each(self._call, repeats)

    def gflop(self) -> float:
        """Operations of one product, in thousands of millions."""
        return 2e-9 * self.size**3

    def peak_bytes(self) -> int | None:
        """Not of interest."""
        return None


def _arrays(job: Operation) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0))
    shape = (*job.window, job.shape[3] // job.groups, job.features)
    return (
        jax.random.normal(keys[0], job.shape, job.dtype),
        jax.random.normal(keys[1], shape, job.dtype),
    )


def _function(job: Operation) -> Callable[[Any, Any], Any]:
    """(images, kernel) -> images; pooling leaves the kernel alone."""
    if job.kind == "conv":
        return lambda x, w: ops.conv(
            x,
            w,
            stride=job.stride,
            padding=job.padding,
            dilation=job.dilation,
            groups=job.groups,
        )
    if job.kind == "max_pool":
        return lambda x, w: ops.max_pool(
            x, job.window, stride=job.stride, padding=job.padding, dilation=job.dilation
        )
    return lambda x, w: ops.avg_pool(x, job.window, stride=job.stride, padding=job.padding)
