"""A pool of images made before, of which a discriminator sees some again.

Shrivastava et al. 2017, "Learning from simulated and unsupervised images through adversarial
training", section 2.3, as in CycleGAN's code.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnn.core import Key


class Pool(NamedTuple):
    """The images, and how many there are of them; those behind are zeros."""

    images: Float[Array, "size height width channels"]
    held: Int[Array, ""]


def empty(size: int, image: Float[Array, "height width channels"]) -> Pool:
    """A pool for so many images of that shape."""
    return Pool(jnp.zeros((size, *image.shape), image.dtype), jnp.zeros((), jnp.int32))


def exchange(
    pool: Pool,
    made: Float[Array, "batch height width channels"],
    key: Key,
    axis_name: str | None = None,
) -> tuple[Pool, Float[Array, "batch height width channels"]]:
    """What the discriminator sees for each image, one after another, and the pool after them.

    As long as the pool is not full, an image goes into it and is seen. Then it is seen with a
    chance of one half; else it takes the place of a drawn one, which is seen. A pool of size 0
    leaves the images as they are.

    Under `pmap`, over the axis of that name, the images of all replicas go through each replica's
    pool, so these stay equal; what is seen is of its own images.
    """
    size = len(pool.images)
    if not size:
        return pool, made
    drawn = (made, *draws(key, len(made), size))
    if axis_name is not None:
        drawn = jax.lax.all_gather(drawn, axis_name, tiled=True)

    def one(
        carry: Pool, each: tuple[Array, Array, Array]
    ) -> tuple[Pool, Float[Array, "height width channels"]]:
        image, coin, place = each
        full = carry.held == size
        place = jnp.where(full, place, carry.held % size)
        kept = ~full | coin
        seen = jnp.where(full & coin, carry.images[place], image)
        images = carry.images.at[place].set(jnp.where(kept, image, carry.images[place]))
        return Pool(images, jnp.minimum(carry.held + 1, size)), seen

    pool, seen = jax.lax.scan(one, pool, drawn)
    if axis_name is not None:
        first = jax.lax.axis_index(axis_name) * len(made)
        seen = jax.lax.dynamic_slice_in_dim(seen, first, len(made))
    return pool, seen


def draws(key: Key, count: int, size: int) -> tuple[Array, Array]:
    """For each image: whether a full pool gives one of its own for it, and which."""
    keys = jax.random.split(key)
    coins = jax.random.bernoulli(keys[0], 0.5, (count,))
    return coins, jax.random.randint(keys[1], (count,), 0, size)
