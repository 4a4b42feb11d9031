"""Two-dimensional convolution."""

import functools
from types import ModuleType

import numpy as np
from jax.interpreters import ad
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn.errors import UserError
from cnn.ops import by_part, depthwise, double, formulation, grouped, onednn, plain, products
from cnn.ops.window import Padding, Pair, Slide, check_fits, pair, sides

Image = Float[Array, "batch _ _ _"]
Kernel = Float[Array, "_ _ _ _"]


def conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width group_channels features"],
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Array, "batch new_height new_width features"]:
    """The cross-correlation that networks call a convolution.

    On a CPU it and its derivatives are formulated by shape: `products` where windows do not
    overlap; else `onednn` where it serves, with `by_part` for the gradient by a dense kernel; else
    `depthwise`, `grouped`, and for a dense convolution `lax`'s own, which no formulation in plain
    JAX beat in single precision, and `double`.

    Args:
        x: The images, of the kernel's dtype.
        kernel: The weights; `group_channels * groups` are the channels of `x`.
        stride: Pixels between neighbouring outputs.
        padding: Zeros added outside.
        dilation: Pixels between neighbouring taps of the kernel; 1 is a dense kernel.
        groups: Channels and features are cut into this many parts, and part i of the features sees
            part i of the channels only. As many groups as channels is a depthwise convolution.

    Raises:
        UserError: If the kernel does not fit into the padded image.
    """
    check_fits(x.shape[1:3], kernel.shape[:2], padding=padding, dilation=dilation)
    slide = Slide(
        image=(x.shape[1], x.shape[2]),
        window=(kernel.shape[0], kernel.shape[1]),
        stride=pair(stride),
        padding=sides(padding),
        dilation=pair(dilation),
        groups=groups,
    )
    if formulation.is_stock():
        return plain.convolve(x, kernel, slide)
    return formulation.bind(_CONV, x, kernel, spec=slide)


def conv_transpose(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width features channels"],
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: int = 0,
) -> Float[Array, "batch new_height new_width features"]:
    """The transpose of `conv`, which makes maps larger: torch's `conv_transpose2d`.

    It is what the convolution with this kernel, from the result to `x`, gives back to its image. A
    side of n pixels becomes (n - 1) * stride + kernel - padding on both sides + output_padding.

    Args:
        x: The images, of the kernel's dtype.
        kernel: The weights, as that convolution has them.
        stride: Pixels between what neighbouring pixels become.
        padding: Taken away outside.
        output_padding: Rows below and columns to the right that are added, less than the stride.

    Raises:
        UserError: If nothing is left, or `output_padding` reaches the stride.
    """
    if not 0 <= output_padding < min(pair(stride)):
        raise UserError(
            f"output_padding must be at least 0 and below the stride {stride}, got {output_padding}"
        )
    window = (kernel.shape[0], kernel.shape[1])
    height, width = (
        (length - 1) * step + taps - sum(outside) + output_padding
        for length, step, taps, outside in zip(
            x.shape[1:3], pair(stride), window, sides(padding), strict=True
        )
    )
    check_fits((height, width), window, padding=padding, dilation=1)
    slide = Slide((height, width), window, pair(stride), sides(padding), (1, 1))
    if formulation.is_stock():
        return plain.image_gradient(x, kernel, slide)
    return formulation.bind(_IMAGE_GRADIENT, x, kernel, spec=slide)


def _formulations(slide: Slide, group_channels: int, dtype: DTypeLike) -> ModuleType:
    """The file of a shape: its `forward`, `image_gradient` and `kernel_gradient`."""
    if slide.groups > 1:
        return depthwise if group_channels == 1 else grouped
    if products.fits(slide):
        return products
    return double if dtype == np.float64 else plain


def _forward(x: Image, kernel: Kernel, *, spec: Slide) -> Image:
    return _formulations(spec, kernel.shape[2], kernel.dtype).forward(x, kernel, spec)


def _image_gradient(g: Image, kernel: Kernel, *, spec: Slide) -> Image:
    return _formulations(spec, kernel.shape[2], kernel.dtype).image_gradient(g, kernel, spec)


def _kernel_gradient(x: Image, g: Image, *, spec: Slide) -> Kernel:
    return _formulations(spec, x.shape[-1] // spec.groups, x.dtype).kernel_gradient(x, g, spec)


def _library_forward(x: Image, kernel: Kernel, *, spec: Slide) -> Image:
    if products.fits(spec):
        return products.forward(x, kernel, spec, product=onednn.product)
    return onednn.forward(x, kernel, spec)


def _library_image_gradient(g: Image, kernel: Kernel, *, spec: Slide) -> Image:
    if products.fits(spec):
        return products.image_gradient(g, kernel, spec, product=onednn.product)
    strided_depthwise = spec.groups > 1 and kernel.shape[2] == 1 and spec.stride != (1, 1)
    if strided_depthwise or not onednn.turns(spec):
        return _image_gradient(g, kernel, spec=spec)
    return onednn.image_gradient(g, kernel, spec)


def _library_kernel_gradient(x: Image, g: Image, *, spec: Slide) -> Kernel:
    if spec.groups > 1 and spec.groups == x.shape[-1] == g.shape[-1]:
        return onednn.kernel_gradient(x, g, spec)
    if products.fits(spec):
        return products.kernel_gradient(x, g, spec, product=onednn.product)
    if spec.groups == 1:
        return by_part.kernel_gradient(x, g, spec)
    return _kernel_gradient(x, g, spec=spec)


_CONV = formulation.formulated(
    "conv",
    stock=lambda x, kernel, spec: plain.forward(x, kernel, spec),
    cpu=_forward,
    library=_library_forward,
)
_IMAGE_GRADIENT = formulation.formulated(
    "conv_image_gradient",
    stock=lambda g, kernel, spec: plain.image_gradient(g, kernel, spec),
    cpu=_image_gradient,
    library=_library_image_gradient,
)
_KERNEL_GRADIENT = formulation.formulated(
    "conv_kernel_gradient",
    stock=lambda x, g, spec: plain.kernel_gradient(x, g, spec),
    cpu=_kernel_gradient,
    library=_library_kernel_gradient,
    by_example=False,
)

PRODUCTS = (_CONV, _IMAGE_GRADIENT, _KERNEL_GRADIENT)
"""The primitives that are convolutions or their gradients."""

# sum(g * conv(x, kernel)) is linear in each of the three, and its gradients by them are the three
# operations: each is bilinear and its transposes are the other two.
_conv, _image, _kernel = (functools.partial(formulation.bind, primitive) for primitive in PRODUCTS)
ad.defbilinear(
    _CONV,
    lambda g, x, kernel, spec: _image(g, kernel, spec=spec),
    lambda g, x, kernel, spec: _kernel(x, g, spec=spec),
)
ad.defbilinear(
    _IMAGE_GRADIENT,
    lambda x, g, kernel, spec: _conv(x, kernel, spec=spec),
    lambda x, g, kernel, spec: _kernel(x, g, spec=spec),
)
ad.defbilinear(
    _KERNEL_GRADIENT,
    lambda kernel, x, g, spec: _image(g, kernel, spec=spec),
    lambda kernel, x, g, spec: _conv(x, kernel, spec=spec),
)
