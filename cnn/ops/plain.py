"""Convolution and its two gradients as `lax` has them: what runs on TPUs and GPUs."""

from jax import lax
from jaxtyping import Array, Float

from cnn.ops.window import Slide

Image = Float[Array, "batch _ _ _"]
Kernel = Float[Array, "_ _ _ _"]


def forward(x: Image, kernel: Kernel, slide: Slide) -> Image:
    """The convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=slide.stride,
        padding=slide.padding,
        rhs_dilation=slide.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=slide.groups,
    )


def image_gradient(g: Image, kernel: Kernel, slide: Slide) -> Image:
    """What `forward` gives back to the image: linear in both, a convolution too."""
    rows, columns, channels, features = kernel.shape
    groups, order = slide.groups, "HWOI"
    # Directly before a convolution a turned kernel costs an accelerator nothing.
    back = lax.rev(kernel, (0, 1))
    if groups > 1:
        back = back.reshape(rows, columns, channels, groups, features // groups)
        back = back.swapaxes(2, 4).reshape(rows, columns, features // groups, channels * groups)
        order = "HWIO"
    margins = [
        (reach - before, length + before - (outputs - 1) * step - 1)
        for reach, (before, _), length, outputs, step in zip(
            slide.reach, slide.padding, slide.image, slide.size, slide.stride, strict=True
        )
    ]
    return lax.conv_general_dilated(
        g,
        back,
        window_strides=(1, 1),
        padding=margins,
        lhs_dilation=slide.stride,
        rhs_dilation=slide.dilation,
        dimension_numbers=("NHWC", order, "NHWC"),
        feature_group_count=groups,
    )


def kernel_gradient(x: Image, g: Image, slide: Slide) -> Kernel:
    """What `forward` gives back to the kernel: a convolution whose batch are the channels."""
    margins = [
        (before, reach + (outputs - 1) * step + 1 - length - before)
        for reach, (before, _), length, outputs, step in zip(
            slide.reach, slide.padding, slide.image, slide.size, slide.stride, strict=True
        )
    ]
    return lax.conv_general_dilated(
        x,
        g,
        window_strides=slide.dilation,
        padding=margins,
        rhs_dilation=slide.stride,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=slide.groups,
    )
