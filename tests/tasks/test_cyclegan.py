"""Translation without pairs: cycles close, pools are kept, either side sees its kind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.data.pairs import outlines
from cnn.errors import UserError
from cnn.tasks import cyclegan
from tests.tasks import small

PAIRS = outlines(paired=False).train


def batch_of(count=4):
    images = np.stack([PAIRS[index * 400]["image"] for index in range(count)])
    return {"image": jnp.asarray(images, jnp.float32) / 127.5 - 1, "weight": jnp.ones(count)}


@pytest.fixture(scope="module")
def trained():
    batch = batch_of()
    task = cyclegan.make(models.generator("cyclegan_test"), optax.adam(5e-3, b1=0.5), pool_size=6)
    state, step = small.init(task, batch), jax.jit(task.step)
    lines = []
    for count in range(50):
        state, metrics = step(state, batch, jax.random.fold_in(small.KEY, count))
        lines.append((int(state.pools["a"].held), small.values(metrics)))
    return task, batch, state, lines


def test_cycles_close_and_pools_fill(trained):
    *_, lines = trained
    assert [count for count, _ in lines[:3]] == [4, 6, 6]
    first, last = lines[0][1], lines[-1][1]
    assert last["cycle"] < 0.5 * first["cycle"]
    assert last["discriminator_loss"] < first["discriminator_loss"]
    total = last["generator_loss"] + last["discriminator_loss"]
    assert last["loss"] == pytest.approx(total, rel=1e-5)


def test_predictions_are_beside_what_they_are_of(trained):
    task, batch, state, _ = trained
    found = small.predict(task, state, batch)
    a, b = np.asarray(batch["image"][..., :1]), np.asarray(batch["image"][..., 1:])
    parts = np.split(np.asarray(found["shown"]), 4, axis=2)
    expected = (a, found["images"], b, found["images_a"])
    for part, images in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, images)
    measured = small.values(small.evaluate(task, state, batch))
    assert measured["cycle"] == pytest.approx(float(np.mean(found["cycle"])), rel=1e-5)


def test_losses_are_the_papers(trained):
    """Of the state, by applying the networks one by one."""
    task, batch, state, _ = trained
    networks = models.generator("cyclegan_test")
    a, b = batch["image"][..., :1], batch["image"][..., 1:]
    ways, judges = state.generator.params, state.discriminator.params

    def turn(way, images):
        return networks.generator.apply({"params": ways[way]}, images)

    def judge(kind, images):
        return np.asarray(networks.discriminator.apply({"params": judges[kind]}, images))

    new_a, new_b = turn("b_to_a", b), turn("a_to_b", a)
    again = turn("b_to_a", new_b), turn("a_to_b", new_a)
    cycle = sum(float(jnp.abs(x - y).mean()) for x, y in zip(again, (a, b), strict=True))
    generator = 10 * cycle + sum(
        ((judge(kind, x) - 1) ** 2).mean() for kind, x in (("a", new_a), ("b", new_b))
    )
    critic = sum(
        (((judge(kind, x) - 1) ** 2).mean() + (judge(kind, y) ** 2).mean()) / 2
        for kind, x, y in (("a", a, new_a), ("b", b, new_b))
    )
    found = small.values(small.evaluate(task, state, batch))
    assert found["generator_loss"] == pytest.approx(generator, rel=1e-4)
    assert found["discriminator_loss"] == pytest.approx(critic, rel=1e-4)
    # Training adds the identity's: 0.5 * 10 of the distances of b and of a from themselves.
    same = [jnp.abs(turn("b_to_a", a) - a).mean(), jnp.abs(turn("a_to_b", b) - b).mean()]
    _, metrics = small.step(task, state, batch)
    expected = generator + 5 * float(sum(same))
    assert small.values(metrics)["generator_loss"] == pytest.approx(expected, rel=1e-4)


def test_padding_counts_nowhere_and_gradients_reach_everything():
    batch = {**batch_of(), "weight": jnp.ones(4).at[3:].set(0.0)}
    networks = models.generator("cyclegan_test")
    task = cyclegan.make(networks, small.recorder(), pool_size=0)
    state, found = small.init(task, batch), []
    for fill in (0.5, jnp.nan):
        image = batch["image"].at[3:].set(fill)
        found.append(small.step(task, state, {**batch, "image": image}))
    small.assert_same(found[1], found[0], rtol=1e-6)
    after, metrics = found[0]
    assert metrics["cycle"].weight == metrics["loss"].weight == 3
    for gradients in (after.generator.opt_state[0], after.discriminator.opt_state[0]):
        kernels = [x for x in jax.tree.leaves(gradients) if x.ndim > 1]
        assert all(np.abs(leaf).max() > 0 for leaf in kernels)


@pytest.mark.parametrize(
    ("name", "value"), [("cycle_weight", -1.0), ("identity_weight", -0.5), ("pool_size", -1)]
)
def test_mistakes_are_one_clear_line(name, value):
    with pytest.raises(UserError, match=f"task.{name} must be at least 0"):
        cyclegan.make(models.generator("cyclegan_test"), optax.identity(), **{name: value})
