"""Convolutions whose windows do not overlap, on a CPU: one matrix product.

1x1 kernels at any stride, the patches of ConvNeXt and ViT, and kernels of the image's size. XLA
runs them through its general convolution on a CPU, at up to 7 times the time of the product.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.window import Slide

Image = Float[Array, "batch _ _ _"]
Kernel = Float[Array, "_ _ _ _"]
Matrix = Float[Array, "_ _"]


def fits(slide: Slide) -> bool:
    """Whether no two windows share a pixel, and none sees the padding."""
    taps = zip(slide.window, slide.dilation, strict=True)
    apart = all(
        window <= stride or size == 1
        for window, stride, size in zip(slide.window, slide.stride, slide.size, strict=True)
    )
    contiguous = all(window == 1 or step == 1 for window, step in taps)
    return slide.groups == 1 and slide.padding == ((0, 0), (0, 0)) and apart and contiguous


@runtime_checkable
class Product(Protocol):
    """A product of matrices."""

    def __call__(
        self, a: Matrix, b: Matrix, *, transpose_a: bool = False, transpose_b: bool = False
    ) -> Matrix:
        """Of both as they are, or of the transpose of one."""
        ...


def by_xla(a: Matrix, b: Matrix, *, transpose_a: bool = False, transpose_b: bool = False) -> Matrix:
    """The product by `lax`."""
    return lax.dot_general(a, b, (((int(not transpose_a),), (int(transpose_b),)), ((), ())))


def forward(x: Image, kernel: Kernel, slide: Slide, *, product: Product = by_xla) -> Image:
    """The convolution."""
    return _over_pixels(product, _patches(x, slide), _matrix(kernel))


def image_gradient(g: Image, kernel: Kernel, slide: Slide, *, product: Product = by_xla) -> Image:
    """What `forward` gives back to the image; pixels that no window saw get zeros."""
    return _put_back(_over_pixels(product, g, _matrix(kernel), transpose_b=True), slide)


def kernel_gradient(x: Image, g: Image, slide: Slide, *, product: Product = by_xla) -> Kernel:
    """What `forward` gives back to the kernel."""
    patches = _patches(x, slide)
    rows = patches.reshape(-1, patches.shape[-1])
    matrix = product(rows, g.reshape(-1, g.shape[-1]), transpose_a=True)
    return matrix.reshape(*slide.window, x.shape[-1], g.shape[-1])


def _over_pixels(product: Product, x: Image, matrix: Matrix, **transposed: bool) -> Image:
    y = product(x.reshape(-1, x.shape[-1]), matrix, **transposed)
    return y.reshape(*x.shape[:-1], -1)


def _matrix(kernel: Kernel) -> Float[Array, "taps_and_channels features"]:
    return kernel.reshape(-1, kernel.shape[-1])


def _patches(x: Image, slide: Slide) -> Float[Array, "batch _ _ _"]:
    """What each window sees."""
    (rows, columns), (height, width) = slide.window, slide.size
    if slide.window == (1, 1):
        down, across = slide.stride
        return x[:, : (height - 1) * down + 1 : down, : (width - 1) * across + 1 : across]
    down, across, below, right = _cells(slide)
    # Alone, moving pixels is a copy; with what made them, a slow loop.
    x = lax.optimization_barrier(x)
    cells = lax.pad(x, np.array(0, x.dtype), ((0, 0, 0), (0, below, 0), (0, right, 0), (0, 0, 0)))
    cells = cells.reshape(x.shape[0], height, down, width, across, x.shape[-1])
    cells = cells[:, :, :rows, :, :columns].transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(x.shape[0], height, width, -1)


def _put_back(patches: Image, slide: Slide) -> Image:
    """The transpose of `_patches`."""
    (rows, columns), (height, width) = slide.window, slide.size
    zero = np.array(0, patches.dtype)
    if slide.window == (1, 1):
        axes = zip(slide.image, slide.size, slide.stride, strict=True)
        between = [(0, length - (n - 1) * step - 1, step - 1) for length, n, step in axes]
        return lax.pad(patches, zero, ((0, 0, 0), *between, (0, 0, 0)))
    down, across, below, right = _cells(slide)
    cells = patches.reshape(patches.shape[0], height, width, rows, columns, -1)
    cells = cells.transpose(0, 1, 3, 2, 4, 5)
    none = (0, 0, 0)
    gaps = (none, none, (0, down - rows, 0), none, (0, across - columns, 0), none)
    x = lax.pad(cells, zero, gaps)
    x = x.reshape(patches.shape[0], height * down, width * across, -1)
    return lax.optimization_barrier(lax.pad(x, zero, (none, (0, -below, 0), (0, -right, 0), none)))


def _cells(slide: Slide) -> tuple[int, int, int, int]:
    """Height and width of the pixels of one window, and what the image lacks for all of them."""
    # The stride of an only window is of no account.
    down, across = (
        stride if outputs > 1 else taps
        for stride, outputs, taps in zip(slide.stride, slide.size, slide.window, strict=True)
    )
    below, right = slide.size[0] * down - slide.image[0], slide.size[1] * across - slide.image[1]
    return down, across, below, right
