"""The fully connected layer of transformers and of what is built like them."""

import functools

from flax import linen

from cnn import ops

Dense = functools.partial(linen.Dense, dot_general=ops.dense)
"""linen's layer, with the product that is chosen by backend."""
