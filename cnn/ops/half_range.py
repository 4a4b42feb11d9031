"""The input of networks that were trained on pixels in [-1, 1]."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn.errors import UserError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def to_half_range(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Images of ImageNet's mean and deviation -> of mean 0.5 and deviation 0.5, so in [-1, 1].

    What torchvision calls `transform_input`: the weights of GoogLeNet and Inception-v3 that it
    publishes were ported from networks with such an input.

    Raises:
        UserError: If the images do not have the three channels that the numbers are of.
    """
    if images.shape[-1] != len(_MEAN):
        raise UserError(
            f"transform_input is for images of 3 channels, and these have {images.shape[-1]};"
            " leave it out, and normalise by mean 0.5 and deviation 0.5 where weights expect it"
        )
    mean, std = (jnp.asarray(values, images.dtype).reshape(1, 1, 1, -1) for values in (_MEAN, _STD))
    return (images * std + mean - 0.5) / 0.5
