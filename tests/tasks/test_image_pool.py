"""The compiled pool against a plain one in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.tasks import image_pool


class Plain:
    """As CycleGAN's code has it, with coins and places that are given."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images, coins, places):
        seen = []
        for image, coin, place in zip(images, coins, places, strict=True):
            if len(self.images) < self.size:
                self.images.append(image)
                seen.append(image)
            elif coin:
                seen.append(self.images[place])
                self.images[place] = image
            else:
                seen.append(image)
        return seen


@pytest.mark.parametrize(("size", "batch"), [(5, 3), (4, 6), (1, 2)])
def test_it_is_the_plain_pool(size, batch):
    pool, plain = image_pool.empty(size, jnp.zeros((1, 1, 1))), Plain(size)
    exchange = jax.jit(image_pool.exchange)
    replaced = 0
    for step in range(8):
        values = np.arange(step * batch, (step + 1) * batch, dtype=np.float32)
        key = jax.random.fold_in(jax.random.key(0), step)
        pool, seen = exchange(pool, jnp.asarray(values).reshape(-1, 1, 1, 1), key)
        coins, places = (np.asarray(x) for x in image_pool.draws(key, batch, size))
        expected = plain.query(values, coins, places)
        np.testing.assert_array_equal(np.ravel(seen), expected)
        replaced += int((np.ravel(seen) != values).sum())
        assert int(pool.held) == len(plain.images)
        np.testing.assert_array_equal(np.ravel(pool.images)[: len(plain.images)], plain.images)
    assert replaced > 3


def test_replicas_have_the_pool_of_all_their_images():
    pool, plain = image_pool.empty(5, jnp.zeros((1, 1, 1))), Plain(5)
    # Four replicas of two images each, which draw by their own keys.
    exchange = jax.vmap(image_pool.exchange, (None, 0, 0, None), axis_name="replica")
    replaced = 0
    for step in range(4):
        made = np.arange(step * 8, (step + 1) * 8, dtype=np.float32).reshape(4, 2, 1, 1, 1)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), step), 4)
        pools, seen = jax.jit(exchange, static_argnums=3)(pool, jnp.asarray(made), keys, "replica")
        drawn = [image_pool.draws(key, 2, 5) for key in keys]
        coins, places = (np.concatenate(x) for x in zip(*drawn, strict=True))
        np.testing.assert_array_equal(np.ravel(seen), plain.query(made.ravel(), coins, places))
        replaced += int((np.ravel(seen) != made.ravel()).sum())
        for images in pools.images:
            np.testing.assert_array_equal(np.ravel(images), plain.images)
        assert pools.held.tolist() == [5] * 4
        pool = jax.tree.map(lambda x: x[0], pools)
    assert replaced > 3


def test_a_pool_of_no_size_leaves_images_as_they_are():
    pool, made = image_pool.empty(0, jnp.zeros((2, 2, 1))), jnp.ones((3, 2, 2, 1))
    again, seen = image_pool.exchange(pool, made, jax.random.key(0))
    np.testing.assert_array_equal(seen, made)
    assert again.images.shape == (0, 2, 2, 1)
