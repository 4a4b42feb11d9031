import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn import ops
from cnn.errors import UserError


def embedding(grid, num_prefix, width=5):
    shape = (1, num_prefix + grid[0] * grid[1], width)
    return jax.random.normal(jax.random.key(0), shape)


def by_pillow(patches, new):
    """Bicubic and antialiased, a channel at a time."""
    columns_first = new[::-1]
    maps = [
        np.asarray(Image.fromarray(channel).resize(columns_first, Image.Resampling.BICUBIC))
        for channel in np.moveaxis(np.asarray(patches), -1, 0)
    ]
    return np.stack(maps, axis=-1)


@pytest.mark.parametrize(
    ("old", "new"), [((4, 4), (7, 7)), ((7, 5), (3, 9)), ((6, 8), (5, 3)), ((2, 3), (3, 2))]
)
@pytest.mark.parametrize("num_prefix", [0, 1, 2])
def test_resampling_is_that_of_an_image(old, new, num_prefix):
    known = embedding(old, num_prefix)
    ours = ops.resample_positions(known, old, new, num_prefix=num_prefix)
    assert ours.shape == (1, num_prefix + new[0] * new[1], 5)
    np.testing.assert_array_equal(ours[:, :num_prefix], known[:, :num_prefix])
    expected = by_pillow(known[0, num_prefix:].reshape(*old, 5), new)
    np.testing.assert_allclose(
        ours[0, num_prefix:].reshape(*new, 5), expected, rtol=1e-5, atol=1e-6
    )


def test_the_same_grid_changes_nothing():
    known = embedding((3, 4), 1)
    np.testing.assert_array_equal(
        ops.resample_positions(known, (3, 4), (3, 4), num_prefix=1), known
    )


@pytest.mark.parametrize(("grid", "num_prefix"), [((3, 4), 0), ((4, 4), 1), ((13, 1), 1)])
def test_an_embedding_of_other_patches_is_refused(grid, num_prefix):
    with pytest.raises(UserError, match=rf"13 tokens is not one of {grid[0]}x{grid[1]} patches"):
        ops.resample_positions(embedding((3, 4), 1), grid, (2, 2), num_prefix=num_prefix)


def test_fixed_positions_are_their_formula():
    rows, columns, width = 3, 5, 12
    ours = ops.sincos2d_positions((rows, columns), width)
    assert (ours.shape, ours.dtype) == ((1, rows * columns, width), jnp.float32)
    for row in range(rows):
        for column in range(columns):
            for i, frequency in enumerate((1.0, 1e-2, 1e-4)):
                place = ours[0, row * columns + column]
                expected = (
                    math.sin(column * frequency),
                    math.cos(column * frequency),
                    math.sin(row * frequency),
                    math.cos(row * frequency),
                )
                np.testing.assert_allclose(place[i::3], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("width", [4, 10, 0])
def test_widths_without_fixed_positions(width):
    with pytest.raises(UserError, match=f"width is {width}: position 'sincos2d' needs a multiple"):
        ops.sincos2d_positions((2, 2), width)
