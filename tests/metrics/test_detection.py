"""Average precision by counts equals that of pycocotools, however the images are put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import core
from cnn.evaluators import detection as evaluator
from cnn.metrics.detection import BINS, Ranked
from cnn.tasks.detection import overlaps

CLASSES = 3


def draw(images=12, found=14, true=6, seed=0):
    """Scenes in which some detections lie near an object; each score is in a bin of its own."""
    rng = np.random.default_rng(seed)

    def boxes(*shape):
        start, size = rng.uniform(0, 0.7, (*shape, 2)), rng.uniform(0.05, 0.3, (*shape, 2))
        return np.concatenate([start, start + size], axis=-1)

    truth, labels = boxes(images, true), rng.integers(0, CLASSES, (images, true))
    owner = rng.integers(0, true, (images, found))
    near = np.take_along_axis(truth, owner[..., None], axis=1)
    near = near + rng.normal(0, 0.02, near.shape)
    guess = rng.random((images, found)) < 0.3
    detected = np.where(guess[..., None], boxes(images, found), near)
    classes = np.take_along_axis(labels, owner, axis=1)
    classes = np.where(rng.random(classes.shape) < 0.1, 0, classes)
    scores = (rng.permutation(BINS)[: images * found].reshape(images, found) + 0.5) / BINS
    order = np.argsort(-scores, axis=1)
    detected, classes, scores = (
        np.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=1)
        for x in (detected, classes, scores)
    )
    # Some are not there, and some do not count.
    labels[:, -1] = -1
    labels[::2, -2] = -2 - labels[::2, -2]
    classes[:, -1] = -1
    batch = {"boxes": jnp.asarray(truth, jnp.float32), "box_labels": jnp.asarray(labels, jnp.int32)}
    return batch, detected.astype(np.float32), classes.astype(np.int32), scores.astype(np.float32)


@jax.jit
def count(batch, detected, classes, scores):
    pairs = overlaps(detected, batch)
    return Ranked.of(scores, classes, pairs, batch["box_labels"], CLASSES)


def by_pycocotools(batch, detected, classes, scores):
    images = []
    for index in range(len(detected)):
        real, there = np.asarray(batch["box_labels"][index]) != -1, classes[index] >= 0
        truth = evaluator.Boxes(
            np.asarray(batch["boxes"][index])[real] * 500.0,
            np.asarray(batch["box_labels"][index])[real],
            np.ones(real.sum(), np.float32),
        )
        own = (detected[index] * 500.0, classes[index], scores[index])
        images.append((truth, evaluator.Boxes(*(x[there] for x in own))))
    return evaluator.average_precision(images, CLASSES)


@pytest.mark.parametrize("seed", range(3))
def test_counts_give_what_pycocotools_does(seed):
    drawn = draw(seed=seed)
    expected = by_pycocotools(*drawn)
    found = core.compute({"ap": count(drawn[0], *map(jnp.asarray, drawn[1:]))})
    assert set(found) == {"ap", "ap50", "ap75"}
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-6), name
    assert 0.1 < found["ap"] < found["ap50"] < 1


def test_batches_add_up_and_padding_is_nothing():
    batch, *found = draw()
    whole = count(batch, *map(jnp.asarray, found))
    halves = []
    for part in (slice(0, 6), slice(6, 12)):
        own = {name: x[part] for name, x in batch.items()}
        halves.append({"ap": count(own, *(jnp.asarray(x[part]) for x in found))})
    merged = core.merge(*halves)["ap"]
    for left, right in zip(merged, whole, strict=True):
        np.testing.assert_array_equal(left, right)
    none = {**batch, "box_labels": jnp.full_like(batch["box_labels"], -1)}
    empty = count(none, jnp.asarray(found[0]), jnp.full_like(found[1], -1), jnp.asarray(found[2]))
    assert not any(np.asarray(x).any() for x in empty)
    assert all(np.isnan(value) for value in empty.compute().values())
