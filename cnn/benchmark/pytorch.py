"""The same network or operation in PyTorch, eager; imported in a worker only."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

from cnn.benchmark import host, torch_models
from cnn.benchmark.job import Network, Operation, Prepared

WARM_UP_STEPS = 2
TRIED_STEPS = 3
LAYOUTS = ("contiguous", "channels_last")


class TorchNetwork:
    """A network of torchvision or timm on the CPU; a `worker.Side`.

    In the first process `prepare` finds out which memory format is faster; another then uses that
    one alone, so that its memory is that of one.

    Raises:
        UserError: If neither package has the network, or the one that has is not installed.
    """

    def __init__(self, job: Network) -> None:
        self._torch = _start()
        self._job = job
        self._step: Callable[[], None] = lambda: None

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Builds the network and chooses the memory format."""
        layout = earlier.layout if earlier is not None else None
        if layout is None:
            seconds = {}
            for tried in LAYOUTS:
                self._step = self._make_step(tried)
                self.run(WARM_UP_STEPS)
                seconds[tried] = self.run(TRIED_STEPS)
            layout = min(seconds, key=seconds.__getitem__)
        self._step = self._make_step(layout)
        return Prepared(layout=layout)

    def start(self) -> None:
        """Takes the first steps."""
        host.reset_peak()
        self.run(WARM_UP_STEPS)

    def run(self, repeats: int) -> float:
        """Steps; seconds of one."""
        return _time(self._step, repeats)

    def peak_bytes(self) -> int | None:
        """The most memory of this process since `start`."""
        return host.peak()

    def _make_step(self, layout: str) -> Callable[[], None]:
        torch, job = self._torch, self._job
        form = _memory_format(torch, layout)
        model = torch_models.make(torch, job).to(memory_format=form).train(job.mode == "train")
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        forward, loss = torch_models.calls(torch, model, job, form)

        def cast() -> Any:
            # Parameters stay float32, as ours do.
            if job.dtype == "float32":
                return contextlib.nullcontext()
            return torch.autocast("cpu", getattr(torch, job.dtype))

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            with cast():
                total = loss()
            total.backward()
            optimizer.step()

        def infer() -> None:
            with torch.inference_mode(), cast():
                forward()

        return train if job.mode == "train" else infer


class TorchOperation:
    """An operation of PyTorch, or one of its gradients alone, on the CPU; a `worker.Side`."""

    def __init__(self, job: Operation) -> None:
        self._torch = _start()
        self._job = job
        self._call: Callable[[], None] = lambda: None

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Chooses the memory format."""
        calls = {layout: self._make_call(layout) for layout in LAYOUTS}
        seconds = {}
        for layout, call in calls.items():
            _time(call, WARM_UP_STEPS)
            seconds[layout] = _time(call, TRIED_STEPS)
        layout = min(seconds, key=seconds.__getitem__)
        self._call = calls[layout]
        return Prepared(layout=layout)

    def start(self) -> None:
        """Runs it twice."""
        host.reset_peak()
        self.run(WARM_UP_STEPS)

    def run(self, repeats: int) -> float:
        """Calls it; seconds of one call."""
        return _time(self._call, repeats)

    def peak_bytes(self) -> int | None:
        """The most memory of this process since `start`."""
        return host.peak()

    def _make_call(self, layout: str) -> Callable[[], None]:
        torch, job = self._torch, self._job
        form = _memory_format(torch, layout)
        batch, height, width, channels = job.shape
        dtype = getattr(torch, job.dtype)
        x = torch.randn(batch, channels, height, width).to(dtype, memory_format=form)
        kernel = torch.randn(job.features, channels // job.groups, *job.window)
        kernel = kernel.to(dtype, memory_format=form)
        window = {"stride": job.stride, "padding": job.padding}

        def forward() -> Any:
            functional = torch.nn.functional
            if job.kind == "conv":
                return functional.conv2d(
                    x, kernel, dilation=job.dilation, groups=job.groups, **window
                )
            if job.kind == "max_pool":
                return functional.max_pool2d(x, job.window, dilation=job.dilation, **window)
            return functional.avg_pool2d(x, job.window, **window)

        def alone() -> None:
            with torch.inference_mode():
                forward()

        if job.part == "forward":
            return alone
        wrt = (x if job.part == "dx" else kernel).requires_grad_()
        y = forward()
        dy = torch.randn_like(y)

        def gradient() -> None:
            torch.autograd.grad(y, wrt, dy, retain_graph=True)

        return gradient


def _start() -> Any:
    """The package, with as many threads as JAX has."""
    # By name, since the type checker's environment has no torch.
    torch = importlib.import_module("torch")
    torch.set_num_threads(host.num_cores())
    torch.manual_seed(0)
    return torch


def _time(call: Callable[[], None], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def _memory_format(torch: Any, layout: str) -> Any:
    return {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
