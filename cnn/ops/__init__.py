"""Convolution, products, pooling, activations, boxes: one function each, for every backend.

All families call these and none calls `lax` for them, so that a faster formulation for some shape
or backend is one change here. Images are NHWC, kernels HWIO.
"""

from cnn.ops import boxes
from cnn.ops.adaptive_pooling import adaptive_avg_pool
from cnn.ops.convolution import conv, conv_transpose
from cnn.ops.formulation import stock
from cnn.ops.fully_connected import dense
from cnn.ops.gelu import gelu
from cnn.ops.half_range import to_half_range
from cnn.ops.hold import hold
from cnn.ops.local_response import local_response_norm
from cnn.ops.nms import nms, soft_nms
from cnn.ops.pooling import avg_pool, max_pool
from cnn.ops.position import Grid, resample_positions, sincos2d_positions
from cnn.ops.resize import resize_bilinear
from cnn.ops.roi_align import pyramid_levels, pyramid_roi_align, roi_align
from cnn.ops.softmax import softmax
from cnn.ops.stochastic_pooling import probability_weighted_pool, stochastic_pool
from cnn.ops.window import Padding, Pair, same_padding

__all__ = [
    "Grid",
    "Padding",
    "Pair",
    "adaptive_avg_pool",
    "avg_pool",
    "boxes",
    "conv",
    "conv_transpose",
    "dense",
    "gelu",
    "hold",
    "local_response_norm",
    "max_pool",
    "nms",
    "probability_weighted_pool",
    "pyramid_levels",
    "pyramid_roi_align",
    "resample_positions",
    "resize_bilinear",
    "roi_align",
    "same_padding",
    "sincos2d_positions",
    "soft_nms",
    "softmax",
    "stochastic_pool",
    "stock",
    "to_half_range",
]
