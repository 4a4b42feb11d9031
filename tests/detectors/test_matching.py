import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn.detectors.contract import Objects
from cnn.detectors.matching import (
    BETWEEN,
    NOTHING,
    in_pixels,
    match,
    match_each,
    sample_balanced,
)

OBJECTS, ANCHORS = 3, 9
SETTINGS = settings(max_examples=60, deadline=None)
# Few values, so that there are ties and overlaps at the thresholds.
overlaps = st.lists(st.integers(0, 10), min_size=OBJECTS * ANCHORS, max_size=OBJECTS * ANCHORS).map(
    lambda values: np.float32(np.reshape(values, (OBJECTS, ANCHORS)) / 10)
)
real = st.lists(st.booleans(), min_size=OBJECTS, max_size=OBJECTS).map(np.array)


def slow_match(table, real, high, low, keep_best):
    matches = []
    best = {i: max(table[i]) for i in range(OBJECTS) if real[i]}
    for anchor in range(ANCHORS):
        owner = max(best, key=lambda i: (table[i, anchor], -i), default=None)
        if owner is None or table[owner, anchor] < low:
            matches.append(NOTHING)
        else:
            matches.append(owner if table[owner, anchor] >= high else BETWEEN)
        if keep_best and any(best[i] == table[i, anchor] > 0 for i in best):
            matches[-1] = owner
    return matches


@functools.cache
def compiled(keep_best):
    return jax.jit(functools.partial(match, high=0.7, low=0.3, keep_best=keep_best))


@SETTINGS
@given(overlaps, real, st.booleans())
def test_match_against_slow_numpy(table, real, keep_best):
    matches = compiled(keep_best)(table, real).tolist()
    expected = slow_match(table, real, np.float32(0.7), np.float32(0.3), keep_best)
    assert matches == expected


@functools.cache
def compiled_each():
    return jax.jit(functools.partial(match_each, threshold=0.5))


@SETTINGS
@given(overlaps, real)
def test_match_each_against_slow_numpy(table, real):
    expected = slow_match(table, real, 0.5, 0.5, False)
    for index in range(OBJECTS):
        if real[index]:
            expected[int(table[index].argmax())] = index
    assert compiled_each()(table, real).tolist() == expected


@functools.cache
def compiled_sample(count):
    return jax.jit(functools.partial(sample_balanced, count=count, positive_fraction=0.25))


@SETTINGS
@given(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=ANCHORS, max_size=ANCHORS),
    st.sampled_from([4, 8, 40]),
    st.integers(0, 5),
)
def test_sample(kinds, count, seed):
    kinds = np.array(kinds)
    chosen = np.asarray(compiled_sample(count)(kinds == 1, kinds == 0, jax.random.key(seed)))
    positive = min(np.sum(kinds == 1), count // 4)
    assert np.sum(chosen & (kinds == 1)) == positive
    assert np.sum(chosen & (kinds == 0)) == min(np.sum(kinds == 0), count - positive)
    assert not np.any(chosen & (kinds == -1))


def test_every_anchor_is_drawn_as_often():
    kinds = jnp.arange(8) < 4
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = functools.partial(sample_balanced, kinds, ~kinds, count=4, positive_fraction=0.5)
    rates = np.mean(jax.jit(jax.vmap(draw))(keys), axis=0)
    # Five standard deviations of a half.
    np.testing.assert_allclose(rates, 0.5, atol=0.056)


@pytest.mark.parametrize("count", [0, 3])
def test_boxes_in_pixels(count):
    boxes = jnp.asarray([[[0.5, 0, 1, 0.25], [0.2, 0.3, 0.2, 0.9], [0, 0, 1, 1]]])[:, :count]
    labels = jnp.asarray([[4, 2, -1]])[:, :count]
    targets = in_pixels(Objects(boxes, labels), (10, 40))
    if count:
        assert targets.labels.tolist() == [[4, -1, -1]]
        np.testing.assert_allclose(targets.boxes[0, 0], [5, 0, 10, 10])
    else:
        assert targets.labels.tolist() == [[-1]]
