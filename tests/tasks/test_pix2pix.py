"""Translation by pairs: learnt on eight real digits and their outlines."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.core import all_params
from cnn.data.pairs import outlines
from cnn.errors import UserError
from cnn.tasks import pix2pix
from tests.tasks import small

PAIRS = outlines().train


def batch_of(count=8):
    images = np.stack([PAIRS[index * 400]["image"] for index in range(count)])
    images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return {"image": jnp.asarray(images, jnp.float32) / 127.5 - 1, "weight": jnp.ones(count)}


def networks():
    return models.generator("pix2pix_test", width=4)


@pytest.fixture(scope="module")
def trained():
    batch = batch_of()
    task = pix2pix.make(networks(), optax.adam(1e-2, b1=0.5))
    state, step = small.init(task, batch), jax.jit(task.step)
    first = small.step(task, state, batch)[1]
    for count in range(60):
        state, metrics = step(state, batch, jax.random.fold_in(small.KEY, count))
    return task, batch, state, small.values(first), small.values(metrics)


def test_eight_pairs_are_learnt(trained):
    *_, first, last = trained
    assert last["l1"] < 0.4 * first["l1"]
    assert set(last) == {"loss", "generator_loss", "discriminator_loss", "l1"}
    total = last["generator_loss"] + last["discriminator_loss"]
    assert last["loss"] == pytest.approx(total, rel=1e-5)


def test_predictions_are_beside_what_they_are_of(trained):
    task, batch, state, *_ = trained
    found = small.predict(task, state, batch)
    given, true = np.asarray(batch["image"][..., :1]), np.asarray(batch["image"][..., 1:])
    parts = np.split(np.asarray(found["shown"]), 3, axis=2)
    for part, expected in zip(parts, (given, found["images"], true), strict=True):
        np.testing.assert_array_equal(part, expected)
    expected = np.abs(np.asarray(found["images"]) - true).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["l1"], expected, rtol=1e-5)
    measured = small.values(small.evaluate(task, state, batch))
    assert measured["l1"] == pytest.approx(expected.mean(), rel=1e-5)


def test_padding_counts_nowhere_and_gradients_reach_everything():
    batch = {**batch_of(), "weight": jnp.ones(8).at[6:].set(0.0)}
    task = pix2pix.make(networks(), small.recorder())
    state, found = small.init(task, batch), []
    for fill in (0.5, jnp.nan):
        image = batch["image"].at[6:].set(fill)
        found.append(small.step(task, state, {**batch, "image": image}))
    small.assert_same(found[1], found[0], rtol=1e-6)
    after, metrics = found[0]
    assert metrics["l1"].weight == metrics["loss"].weight == 6
    for gradients in (after.generator.opt_state[0], after.discriminator.opt_state[0]):
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    small.assert_same(all_params(after), all_params(state))


def test_what_cannot_be_is_one_clear_line():
    with pytest.raises(UserError, match=r"task\.l1_weight must be at least 0"):
        pix2pix.make(networks(), optax.identity(), l1_weight=-1.0)
    task = pix2pix.make(networks(), optax.identity())
    with pytest.raises(UserError, match="even number of channels, got 3"):
        jax.eval_shape(task.init, small.KEY, {"image": jnp.zeros((1, 32, 32, 3))})
    with pytest.raises(UserError, match="makes images of 1 channels, and those of the data have 3"):
        jax.eval_shape(task.init, small.KEY, {"image": jnp.zeros((1, 32, 32, 6))})
