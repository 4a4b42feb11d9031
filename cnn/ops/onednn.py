"""Convolutions by oneDNN, the library that PyTorch's are from, which jaxlib carries for x86.

XLA has a custom call to its forward convolution that `lax` never uses. Here it also is the gradient
by the image (a convolution with the kernel turned round) and, of depthwise ones, that by the kernel
(the output's gradient is the kernel, one example after the other). Beside the other formulations on
two cores: depthwise 2 to 5 times faster, 5 to 8 times for the kernel's gradient; grouped 3 to 5;
the 7x7 stem 2; dense 3x3 1.2 times.

The call is no public interface and a wrong argument ends the process, so it is made only where it
is known to work: in the releases of jaxlib in `_KNOWN`, for float32. Two things it cannot do. XLA
cannot cut it into the parts of several devices: a program for more than one is formulated otherwise
(inside `jax.shard_map` and `jax.pmap` every device has its own). And XLA cannot write it to a file:
a program of a process that keeps compiled programs (`jax_compilation_cache_dir`) is, too.
"""

import json
import platform
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.interpreters import mlir
from jaxlib import version
from jaxtyping import Array, Float32

from cnn.ops.window import Slide

Image = Float32[Array, "batch _ _ _"]
Kernel = Float32[Array, "_ _ _ _"]
Sides = tuple[tuple[int, int], tuple[int, int]]

_KNOWN = ("0.10.2",)
"""Releases of jaxlib whose custom call is as it is called here."""

_IMAGES = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
_KERNELS = {"filter": {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}}


def is_known() -> bool:
    """Whether this process has the library, and may use it since it keeps no programs."""
    config = jax.config.values
    keeps = config["jax_enable_compilation_cache"] and config["jax_compilation_cache_dir"]
    here = sys.platform == "linux" and platform.machine() == "x86_64"
    return here and version.__version__ in _KNOWN and not keeps


def serves(context: mlir.LoweringRuleContext) -> bool:
    """Whether an operation may be lowered to the library: asked when it is."""
    arrays: Sequence[Any] = context.avals_in
    if not is_known() or any(array.dtype != np.float32 for array in arrays):
        return False
    return _num_parts(context.module_context.axis_context) == 1


def _num_parts(axes: Any) -> int:
    """Into how many parts XLA will cut the program."""
    if hasattr(axes, "num_devices"):
        return axes.num_devices
    if hasattr(axes, "manual_axes"):
        sizes = axes.mesh.shape.items()
        return int(np.prod([size for name, size in sizes if name not in axes.manual_axes]))
    return 1


def forward(x: Image, kernel: Kernel, slide: Slide) -> Image:
    """The convolution."""
    return _convolve(x, kernel, slide.stride, slide.padding, slide.dilation, slide.groups)


def turns(slide: Slide) -> bool:
    """Whether `image_gradient` has the shape: not where taps and outputs both leave gaps."""
    return slide.stride == (1, 1) or slide.dilation == (1, 1)


def image_gradient(g: Image, kernel: Kernel, slide: Slide) -> Image:
    """What `forward` gives back to the image.

    With a stride, the pixels of each remainder by it are a convolution with the taps that saw them.
    """
    down, across = slide.stride
    rows = [_phase(slide, 0, remainder) for remainder in range(down)]
    columns = [_phase(slide, 1, remainder) for remainder in range(across)]
    height, width = (-(-slide.image[axis] // slide.stride[axis]) for axis in (0, 1))
    channels = kernel.shape[2] * slide.groups
    parts = []
    for taps_down, padding_down in rows:
        for taps_across, padding_across in columns:
            seen = kernel[taps_down, taps_across]
            if seen.size:
                padding = (padding_down, padding_across)
                back = _turned(seen, slide.groups)
                part = _convolve(g, back, (1, 1), padding, slide.dilation, slide.groups)
            else:
                part = jax.numpy.zeros((g.shape[0], height, width, channels), g.dtype)
            parts.append(part)
    if len(parts) == 1:
        return parts[0]
    x = jax.numpy.stack(lax.optimization_barrier(parts), 3)
    x = x.reshape(-1, height, width, down, across, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(-1, height * down, width * across, channels)
    return x[:, : slide.image[0], : slide.image[1]]


def kernel_gradient(x: Image, g: Image, slide: Slide) -> Kernel:
    """What a depthwise `forward` gives back to the kernel.

    The same sums with the roles changed: g is the kernel, stride and dilation change places. All
    examples at once, as more channels, would need both arrays in another order first.
    """
    channels = g.shape[-1]
    padding = (_after(slide, 0), _after(slide, 1))
    total = None
    for image, given in zip(x, g, strict=True):
        part = _convolve(
            image[None], given[:, :, None], slide.dilation, padding, slide.stride, channels
        )
        total = part if total is None else total + part
    return jax.numpy.asarray(total).reshape(*slide.window, 1, channels)


def product(
    a: Float32[Array, "_ _"],
    b: Float32[Array, "_ _"],
    bias: Float32[Array, " n"] | None = None,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Float32[Array, "m n"]:
    """The product of two matrices or their transposes, and a bias added to each row.

    1.3 to 2.5 times faster than XLA's with a.T, which that writes first; with b.T a tenth.
    """
    config: dict[str, Any] = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    arrays = (a, b)
    if bias is not None:
        config["fusions"] = {"ops": ["BIAS"]}
        arrays = (a, b, bias[None])
    shape = (a.shape[transpose_a], b.shape[not transpose_b])
    return jax.ffi.ffi_call(
        "__onednn$matmul",
        jax.ShapeDtypeStruct(shape, a.dtype),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_matmul_config": config}),
    )(*arrays)


def _after(slide: Slide, axis: int) -> tuple[int, int]:
    """The padding with which the last output sees the last pixel; less crops."""
    before = slide.padding[axis][0]
    seen = slide.reach[axis] + (slide.size[axis] - 1) * slide.stride[axis] + 1
    return before, seen - slide.image[axis] - before


def _phase(slide: Slide, axis: int, remainder: int) -> tuple[slice, tuple[int, int]]:
    """The taps that saw the pixels of a remainder by the stride, and the padding of the outputs."""
    stride, dilation = slide.stride[axis], slide.dilation[axis]
    length = -(-slide.image[axis] // stride)
    before = slide.padding[axis][0]
    if stride == 1:
        reach = slide.reach[axis]
        return slice(None), (reach - before, length - slide.size[axis] + before)
    assert dilation == 1
    taps = range((remainder + before) % stride, slide.window[axis], stride)
    if not taps:
        return slice(0, 0), (0, 0)
    # The output that saw the phase's first pixel through its last tap.
    first = (remainder + before - taps[-1]) // stride
    after = length - 1 + first + len(taps) - 1 - (slide.size[axis] - 1)
    return slice(taps.start, None, stride), (-first, after)


def _turned(kernel: Kernel, groups: int) -> Kernel:
    """The taps the other way round, channels and features exchanged in each group."""
    rows, columns, channels, features = kernel.shape
    back = kernel[::-1, ::-1].reshape(rows, columns, channels, groups, features // groups)
    return back.swapaxes(2, 4).reshape(rows, columns, features // groups, channels * groups)


def _convolve(
    x: Image,
    kernel: Kernel,
    stride: tuple[int, int],
    padding: Sides,
    dilation: tuple[int, int],
    groups: int,
) -> Image:
    """The custom call; negative padding crops."""
    crops = [(min(0, before), min(0, after), 0) for before, after in padding]
    if any(side for crop in crops for side in crop):
        x = lax.pad(x, np.float32(0), ((0, 0, 0), *crops, (0, 0, 0)))
    before, after = ([max(0, sides[at]) for sides in padding] for at in (0, 1))
    slide = Slide(
        image=(x.shape[1], x.shape[2]),
        window=(kernel.shape[0], kernel.shape[1]),
        stride=stride,
        padding=((before[0], after[0]), (before[1], after[1])),
        dilation=dilation,
        groups=groups,
    )
    window = {
        "size": slide.window,
        "strides": stride,
        "pad_left": before,
        "pad_right": after,
        "window_dilations": dilation,
    }
    config = {
        "dims": 4,
        "input": _IMAGES,
        "kernel": _KERNELS,
        "output": _IMAGES,
        "window": window,
        "feature_groups": groups,
    }
    return jax.ffi.ffi_call(
        "__onednn$convolution",
        jax.ShapeDtypeStruct((x.shape[0], *slide.size, kernel.shape[3]), x.dtype),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )(x, kernel)
