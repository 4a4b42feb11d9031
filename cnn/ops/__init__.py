"""Convolution and pooling: one function each, with one meaning on every backend.

All families call these and none calls `lax` for them, so that a faster formulation for some shape
or backend is one change here. Images are NHWC, kernels HWIO.
"""

from cnn.ops.convolution import conv
from cnn.ops.pooling import avg_pool, max_pool
from cnn.ops.window import Padding, Pair

__all__ = ["Padding", "Pair", "avg_pool", "conv", "max_pool"]
