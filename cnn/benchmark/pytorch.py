"""The same network or operation in PyTorch, eager; imported in a worker only."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

from cnn.benchmark import host, torch_unet
from cnn.benchmark.job import Network, Operation, Prepared
from cnn.errors import UserError, unknown

WARM_UP_STEPS = 2
TRIED_STEPS = 3
AUXILIARY_WEIGHT = 0.5
"""Of a segmenter's auxiliary head, as in torchvision's training and ours."""
LAYOUTS = ("contiguous", "channels_last")
_SAME_IN_TIMM = (
    *("convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano", "convnext_xlarge"),
    *("convnextv2_atto", "convnextv2_femto", "convnextv2_pico", "convnextv2_nano"),
    *("convnextv2_tiny", "convnextv2_base", "convnextv2_large", "convnextv2_huge"),
    *("resnet18d", "resnet34d", "resnet50d", "resnet101d", "ecaresnet50d", "seresnext50_32x4d"),
    *("seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152"),
)
TIMM = {
    **{name: name for name in _SAME_IN_TIMM},
    "deit3_b_16": "deit3_base_patch16_224",
    "deit3_s_16": "deit3_small_patch16_224",
    "deit_b_16_distilled": "deit_base_distilled_patch16_224",
    "deit_s_16_distilled": "deit_small_distilled_patch16_224",
    "deit_ti_16_distilled": "deit_tiny_distilled_patch16_224",
    "mixer_b_16": "mixer_b16_224",
    "mixer_l_16": "mixer_l16_224",
    "mixer_s_16": "mixer_s16_224",
    "mobilenet_v1": "mobilenetv1_100",
    "resnet101_v2": "resnetv2_101",
    "resnet50_v2": "resnetv2_50",
    "vit_s_16": "vit_small_patch16_224",
    "vit_s_32": "vit_small_patch32_224",
    "vit_ti_16": "vit_tiny_patch16_224",
}
"""timm's names of what torchvision lacks; those that both torchvision and we have are the same."""

UNETS = {
    "unet": {"padding": 0, "widths": (64, 128, 256, 512, 1024)},
    "unet_padded": {"padding": 1, "widths": (64, 128, 256, 512, 1024)},
}
"""What neither has: `torch_unet.make`'s."""


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
        model = _model(job).to(memory_format=form).train(job.mode == "train")
        shape = (job.batch_size, job.channels, job.image_size, job.image_size)
        images = torch.randn(shape).to(memory_format=form)
        labels = torch.randint(job.num_classes, (job.batch_size, *_target_shape(model, images)))
        dtype = getattr(torch, job.dtype)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def forward() -> Any:
            # Parameters stay float32, as ours do.
            cast = torch.autocast("cpu", dtype) if job.dtype != "float32" else None
            with cast or contextlib.nullcontext():
                outputs = model(images)
                if isinstance(outputs, dict):
                    return outputs
                # GoogLeNet and Inception have auxiliary logits beside.
                return {"out": getattr(outputs, "logits", outputs)}

        def loss() -> Any:
            outputs = forward()
            entropy = torch.nn.functional.cross_entropy
            total = entropy(outputs["out"].float(), labels)
            if "aux" in outputs:
                total = total + AUXILIARY_WEIGHT * entropy(outputs["aux"].float(), labels)
            return total

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()

        def infer() -> None:
            with torch.inference_mode():
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


def _target_shape(model: Any, images: Any) -> tuple[int, ...]:
    """Of one image's labels: none for a classifier, height and width for a segmenter's pixels."""
    torch = importlib.import_module("torch")
    was_training = model.training
    with torch.inference_mode():
        outputs = model.eval()(images[:1])
    model.train(was_training)
    logits = outputs["out"] if isinstance(outputs, dict) else outputs
    return tuple(logits.shape[2:])


def _model(job: Network) -> Any:
    options: dict[str, Any] = {"num_classes": job.num_classes}
    if job.model in UNETS:
        torch = importlib.import_module("torch")
        return torch_unet.make(torch, channels=job.channels, **options, **UNETS[job.model])
    if job.model in TIMM:
        timm = _package("timm")
        if job.model.startswith(("vit", "deit", "mixer")):
            options["img_size"] = job.image_size
        return timm.create_model(TIMM[job.model], in_chans=job.channels, **options)
    torchvision = _package("torchvision")
    dense = torchvision.models.list_models(module=torchvision.models.segmentation)
    known = [*torchvision.models.list_models(module=torchvision.models), *dense]
    if job.model not in known:
        raise unknown("model of torchvision or timm", job.model, [*known, *TIMM, *UNETS])
    if job.model in dense:
        options |= {"weights_backbone": None}
        if not job.model.startswith("lraspp"):
            options |= {"aux_loss": True}
    if job.model.startswith("vit"):
        options["image_size"] = job.image_size
    return torchvision.models.get_model(job.model, **options)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} cannot be imported ({error}); pip install {name}") from error
