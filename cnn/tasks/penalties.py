"""Penalties on what a network does near its inputs, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]
Score = Callable[[Images], Float[Array, " batch"]]
"""A score of each image, on which the others of the batch have no influence."""


def input_gradients(score: Score, images: Images) -> Images:
    """The gradient of each image's score by that image."""
    scores, back = jax.vjp(score, images)
    return back(jnp.ones_like(scores))[0]


def gradient_penalty(score: Score, images: Images) -> Float[Array, " batch"]:
    """The squared distance of the gradient's norm from 1, of each image.

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3, of images between
    real and made ones.
    """
    return jnp.square(_root(squared_gradients(score, images)) - 1)


def between(
    real: Images, made: Images, shares: Float[Array, " batch"]
) -> Float[Array, "batch height width channels"]:
    """A point on the line between two images; a share of 1 is the real one."""
    shares = shares.reshape(-1, 1, 1, 1)
    return shares * real + (1 - shares) * made


def squared_gradients(score: Score, images: Images) -> Float[Array, " batch"]:
    """The squared length of the gradient of each image's score by that image.

    Of real images half of it is R1: Mescheder et al. 2018, "Which training methods for GANs do
    actually converge?", equation 9.
    """
    return jnp.sum(jnp.square(input_gradients(score, images)), axis=(1, 2, 3))


def path_lengths(
    images_of: Callable[[Float[Array, "batch layers latent_size"]], Images],
    styles: Float[Array, "batch layers latent_size"],
    noise: Images,
) -> Float[Array, " batch"]:
    """How far images move with their styles, in the direction of images of noise.

    Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", equation 4: the
    length of the product of the Jacobian's transpose and noise of deviation 1 over the root of the
    number of pixels, as the authors' code has it of a style a layer: the root of the mean over
    layers of squared lengths.
    """
    images, back = jax.vjp(images_of, styles)
    pixels = images.shape[1] * images.shape[2]
    (gradients,) = back((noise / jnp.sqrt(pixels)).astype(images.dtype))
    squares = jnp.mean(jnp.sum(jnp.square(gradients), axis=-1), axis=-1)
    return _root(squares)


def _root(squares: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The root, with a finite derivative where nothing depends on what it is of."""
    return jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))
