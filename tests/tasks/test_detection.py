"""The task of finding objects."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.tasks import detection
from tests.tasks import small
from tests.tasks.scenes import CLASSES, batch_of


def yolo(**fields):
    return models.detector("yolo_free_test", num_classes=CLASSES, max_detections=10, **fields)


def task_of(model=None, tx=None, **options):
    return detection.make(model or yolo(), tx or optax.adam(1e-2), **options)


def test_eight_images_are_learnt():
    batch = batch_of()
    task = task_of(yolo(widths=(8, 16, 32)))
    state, step = small.init(task, batch), jax.jit(task.step)
    for _ in range(100):
        state, metrics = step(state, batch, small.KEY)
    assert small.values(metrics)["loss"] < 3.0
    assert small.values(small.evaluate(task, state, batch))["ap50"] > 0.95
    found = small.predict(task, state, batch)["detections"]
    assert found.boxes.shape == (8, 10, 4)
    assert (np.asarray(found.labels[:, 0]) >= 0).all()


FACTORS = (("box", 2.0), ("side", 0.0))


class Still(NamedTuple):
    """A task that changes nothing and keeps its gradient: its state, and its compiled functions."""

    task: Any
    state: Any
    step: Any
    evaluate: Any


@pytest.fixture(scope="module")
def still():
    task = task_of(tx=small.recorder(), loss_weights=FACTORS)
    state = small.init(task, batch_of())
    return Still(task, state, jax.jit(task.step), jax.jit(task.evaluate))


def training_batch(count=8):
    return {name: x for name, x in batch_of(count).items() if name not in ("weight", "seen_px")}


def test_every_image_counts_once_whatever_the_batch(still):
    batch = batch_of()
    whole = still.evaluate(still.state, batch)
    assert whole["ap"].objects.sum() == (batch["box_labels"] >= 0).sum()
    order = jnp.asarray([0, 0, 0, 1, 2, 3, 4, 0]), jnp.asarray([5, 6, 7, 0, 0, 0, 0, 0])
    weights = jnp.asarray([0, 0, 1, 1, 1, 1, 1, 0.0]), jnp.asarray([1, 1, 1, 0, 0, 0, 0, 0.0])
    parts = []
    for places, weight in zip(order, weights, strict=True):
        part = {name: x[places] for name, x in batch.items()}
        image = jnp.where(weight.reshape(-1, 1, 1, 1) > 0, part["image"], jnp.nan)
        parts.append(still.evaluate(still.state, {**part, "image": image, "weight": weight}))
    np.testing.assert_array_equal(
        parts[0]["ap"].objects + parts[1]["ap"].objects, whole["ap"].objects
    )
    for name in ("loss", "box_loss", "class_loss", "side_loss"):
        total, weight = (sum(getattr(part[name], f) for part in parts) for f in whole[name]._fields)
        assert weight == 8
        np.testing.assert_allclose(total / weight, whole[name].compute(), rtol=1e-5)


def test_padded_objects_and_those_that_do_not_count_change_nothing(still):
    batch = training_batch()
    first, _ = still.step(still.state, batch, small.KEY)
    real = batch["box_labels"] >= 0
    strange = {
        **batch,
        "boxes": jnp.where(real[..., None], batch["boxes"], jnp.asarray([0.1, 0.2, 0.8, 0.9])),
        "box_labels": jnp.where(real, batch["box_labels"], -4),
    }
    second, _ = still.step(still.state, strange, small.KEY)
    small.assert_same(first.opt_state[0], second.opt_state[0], rtol=0)
    assert small.norm(first.opt_state[0]) > 0


def test_images_without_objects_are_learnt_from(still):
    batch = training_batch()
    batch["box_labels"] = jnp.full_like(batch["box_labels"], -1)
    after, metrics = still.step(still.state, batch, small.KEY)
    found = small.values(metrics)
    assert found["box_loss"] == found["side_loss"] == 0 < found["class_loss"]
    assert np.isfinite(small.norm(after.opt_state[0]))


def test_parts_of_a_batch_give_the_mean_of_their_gradients(still):
    """Part i is every second example; batch norm and the loss see each part by itself."""
    first = training_batch()
    second = {**first, "image": 0.5 * first["image"]}
    both = {
        name: jnp.stack([x, second[name]], axis=1).reshape(-1, *x.shape[1:])
        for name, x in first.items()
    }
    task = task_of(tx=small.recorder(), loss_weights=FACTORS, accumulate_steps=2)
    found, metrics = jax.jit(task.step)(still.state, both, small.KEY)
    left, right = (still.step(still.state, part, small.KEY)[0] for part in (first, second))
    expected = jax.tree.map(lambda x, y: (x + y) / 2, left.opt_state[0], right.opt_state[0])
    scale = small.norm(expected)
    small.assert_same(found.opt_state[0], expected, rtol=1e-3, atol=1e-5 * scale)
    assert metrics["loss"].weight == 16


def test_parts_of_the_loss_count_by_their_factors(still):
    for metrics in (
        still.step(still.state, training_batch(), small.KEY)[1],
        still.evaluate(still.state, batch_of()),
    ):
        found = small.values(metrics)
        assert found["side_loss"] > 0
        expected = 2 * found["box_loss"] + found["class_loss"]
        assert found["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [(("box",),), (("box", -1.0),), ((1.0, "box"),)])
def test_factors_that_are_none_are_one_clear_line(weights):
    with pytest.raises(UserError, match=r"task.loss_weights takes pairs .* got"):
        task_of(loss_weights=weights)


def test_an_unknown_part_is_one_clear_line(still):
    task = task_of(tx=small.recorder(), loss_weights=(("boxes", 2.0),))
    batch = batch_of()
    with pytest.raises(UserError, match=r"task.loss_weights 'boxes'; did you mean 'box'"):
        jax.eval_shape(task.step, still.state, batch, small.KEY)
