"""Convolution, pooling and local normalisation: one function each, the same on every backend.

All families call these and none calls `lax` for them, so that a faster formulation for some shape
or backend is one change here. Images are NHWC, kernels HWIO.
"""

from cnn.ops.adaptive_pooling import adaptive_avg_pool
from cnn.ops.convolution import conv
from cnn.ops.formulation import stock
from cnn.ops.local_response import local_response_norm
from cnn.ops.pooling import avg_pool, max_pool
from cnn.ops.window import Padding, Pair

__all__ = [
    "Padding",
    "Pair",
    "adaptive_avg_pool",
    "avg_pool",
    "conv",
    "local_response_norm",
    "max_pool",
    "stock",
]
