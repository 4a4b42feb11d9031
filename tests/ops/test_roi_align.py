import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import ops

HEIGHT, WIDTH, SCALE, SIZE = 7, 9, 0.5, 3
MAP = np.random.default_rng(0).standard_normal((2, HEIGHT, WIDTH, 2)).astype(np.float32)


def pixel(image, y, x):
    """Bilinear, as the authors' code: a sample up to a pixel outside has the border's value."""
    height, width, channels = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = math.floor(y), math.floor(x)
    total = np.zeros(channels)
    for row, column in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
        if share:
            total += share * image[row, column]
    return total


def slow_roi_align(image, box, ratio, aligned):
    y0, x0, y1, x1 = (value * SCALE - 0.5 * aligned for value in box)
    height, width = (y1 - y0, x1 - x0) if aligned else (max(y1 - y0, 1), max(x1 - x0, 1))
    counts = [ratio or max(math.ceil(extent / SIZE), 1) for extent in (height, width)]
    result = np.zeros((SIZE, SIZE, image.shape[-1]))
    for row, column, i, j in np.ndindex(SIZE, SIZE, *counts):
        y = y0 + height / SIZE * (row + (i + 0.5) / counts[0])
        x = x0 + width / SIZE * (column + (j + 0.5) / counts[1])
        result[row, column] += pixel(image, y, x) / math.prod(counts)
    return result


@functools.cache
def compiled(ratio, aligned):
    return jax.jit(
        functools.partial(
            ops.roi_align, size=SIZE, scale=SCALE, sampling_ratio=ratio, aligned=aligned
        )
    )


# Eighths are exact in float32, so that no sample is in or out by rounding.
eighths = st.integers(0, 8 * 7).map(lambda n: n / 8)
box = st.tuples(eighths, eighths, eighths, eighths).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 14), min(b[1] + b[3], 18))
)


@settings(max_examples=40, deadline=None)
@given(st.tuples(box, box), st.sampled_from([0, 2, 3]), st.booleans())
def test_against_slow_numpy(boxes, ratio, aligned):
    batch = jnp.asarray(np.float32(boxes)[:, None])
    result = compiled(ratio, aligned)(MAP, batch)
    expected = [
        slow_roi_align(image, one, ratio, aligned) for image, one in zip(MAP, boxes, strict=True)
    ]
    np.testing.assert_allclose(result[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_linear_map_is_read_exactly():
    """The mean of samples around a bin's middle is the value there."""
    rows, columns = np.indices((HEIGHT, WIDTH), np.float32)
    ramp = jnp.asarray((2 * rows - columns)[None, :, :, None])
    boxes = jnp.asarray([[[1.0, 2.0, 4.0, 7.0]]])
    result = ops.roi_align(ramp, boxes, size=SIZE, aligned=True)[0, 0, ..., 0]
    y, x = np.arange(3) + 1.5 - 0.5, (np.arange(3) + 0.5) * 5 / 3 + 2 - 0.5
    np.testing.assert_allclose(result, 2 * y[:, None] - x[None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "level"), [(0.0, 0), (55.9, 0), (56.1, 0), (111.9, 0), (112.0, 1), (448.0, 3)]
)
def test_levels(side, level):
    boxes = jnp.asarray([[[10, 10, 10 + side, 10 + side]]], jnp.float32)
    assert ops.pyramid_levels(boxes, strides=(4, 8, 16, 32))[0, 0] == level


def test_each_box_is_pooled_from_its_map():
    rng = np.random.default_rng(1)
    maps = [jnp.asarray(rng.standard_normal((2, 32 // s, 32 // s, 3)), jnp.float32) for s in (1, 2)]
    boxes = jnp.asarray(
        [[[3, 4, 9, 9.5], [1, 0, 31, 30]], [[0, 0, 32, 32], [8, 8, 8, 8]]], jnp.float32
    )
    fields = {"size": 2, "sampling_ratio": 2}
    result = jax.jit(
        lambda maps, boxes: ops.pyramid_roi_align(maps, boxes, strides=(1, 2), **fields)
    )(maps, boxes)
    fine = ops.roi_align(maps[0], boxes, scale=1.0, **fields)
    coarse = ops.roi_align(maps[1], boxes, scale=0.5, **fields)
    levels = np.asarray(ops.pyramid_levels(boxes, strides=(1, 2)))
    assert levels.tolist() == [[0, 1], [1, 0]]
    expected = np.where(levels[..., None, None, None] == 0, fine, coarse)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_gradient_of_the_map():
    """It is linear in the map, so the gradient of a sum is what every pixel contributes."""
    boxes = jnp.asarray([[[1.0, 2.0, 9.0, 15.0]]])

    def total(maps):
        return jnp.sum(compiled(2, False)(maps, boxes)) * 1.0

    x = jnp.asarray(MAP[:1])
    gradient = jax.grad(total)(x)
    np.testing.assert_allclose(jnp.sum(gradient * x), total(x), rtol=1e-5)
    assert np.isfinite(gradient).all()
