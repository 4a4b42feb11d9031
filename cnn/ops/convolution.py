"""Two-dimensional convolution."""

from jax import lax
from jaxtyping import Array, Float

from cnn.ops.window import Padding, Pair, check_fits, pair, sides


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
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=pair(stride),
        padding=sides(padding),
        rhs_dilation=pair(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
