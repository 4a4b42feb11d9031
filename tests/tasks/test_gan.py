"""The two networks of a GAN against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, optim, parallel
from cnn.core import all_params
from cnn.data import digits
from cnn.errors import UserError
from cnn.parallel.pmap import AXIS
from cnn.tasks import gan
from tests.tasks import small

DIGITS = digits.mnist5k().train


def batch_of(count=8):
    images = np.stack([DIGITS[index * 400]["image"] for index in range(count)])
    return {"image": jnp.asarray(images, jnp.float32) / 127.5 - 1}


def task_of(tx=None, networks=None, **options):
    return gan.make(networks or models.generator("dcgan_test"), tx or optax.adam(2e-3), **options)


def critic(**fields):
    return models.generator("dcgan_test", discriminator_norm="none", **fields)


@pytest.fixture(scope="module")
def trained():
    """Eight images, the discriminator trained alone and then the generator: state and metrics."""
    task, batch = task_of(optax.adam(5e-3)), batch_of()
    state, step = small.init(task, batch), jax.jit(task.step)
    lines = []
    for count in range(60):
        new, metrics = step(state, batch, jax.random.fold_in(small.KEY, count))
        still = "generator" if count < 30 else "discriminator"
        state = new._replace(**{still: getattr(state, still)})
        lines.append(small.values(metrics))
    return task, batch, state, lines


def test_each_side_learns_against_the_other_that_stands_still(trained):
    *_, lines = trained
    first, taught, last = lines[0], lines[29], lines[-1]
    assert taught["discriminator_loss"] < 0.2 * first["discriminator_loss"]
    assert taught["generator_loss"] > 2 * first["generator_loss"]
    assert taught["real_score"] > 1 > -1 > taught["made_score"]
    assert last["generator_loss"] < 0.5 * taught["generator_loss"]
    assert last["made_score"] > taught["made_score"] + 1
    for line in lines:
        total = line["generator_loss"] + line["discriminator_loss"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)


def test_evaluation_has_fixed_latents_and_counts_every_example_once(trained):
    task, batch, state, _ = trained
    batch = {**batch, "weight": jnp.ones(8).at[5:].set(0.0)}
    found = small.evaluate(task, state, batch)
    padding = {**batch, "image": batch["image"].at[5:].set(jnp.nan)}
    small.assert_same(small.evaluate(task, state, padding), found, rtol=1e-6)
    assert found["real_score"].weight == found["loss"].weight == 5
    predicted = small.predict(task, state, batch)
    np.testing.assert_allclose(
        found["made_score"].total, predicted["made_score"][:5].sum(), rtol=1e-4
    )
    latents = gan.draw_latents(models.generator("dcgan_test").generator, jax.random.key(0), 8)
    again = small.predict(task, state, {"latent": latents})
    assert set(again) == {"images"}
    np.testing.assert_allclose(again["images"], predicted["images"], rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing_in_training():
    batch = {**batch_of(), "weight": jnp.ones(8).at[6:].set(0.0)}
    task = task_of(small.recorder(), critic(), loss="wasserstein", gradient_penalty=10.0)
    state = small.init(task, batch)
    found = []
    for fill in (0.5, jnp.nan):
        image = batch["image"].at[6:].set(fill)
        found.append(small.step(task, state, {**batch, "image": image}))
    small.assert_same(found[1], found[0], rtol=1e-6)
    metrics = found[0][1]
    assert metrics["gradient_penalty"].weight == 6
    values = small.values(metrics)
    expected = values["made_score"] - values["real_score"] + 10 * values["gradient_penalty"]
    assert values["discriminator_loss"] == pytest.approx(expected, rel=1e-5)
    for gradients in (found[0][0].generator.opt_state, found[0][0].discriminator.opt_state):
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


def test_the_critic_moves_several_times_for_each_step_and_at_its_own_rate():
    batch = batch_of()
    task = task_of(optax.sgd(0.1), critic(), critic_steps=2, discriminator_rate=1e-9)
    state = small.init(task, batch)
    after, metrics = small.step(task, state, batch)
    assert (int(after.step), int(after.discriminator.step)) == (1, 2)
    assert (metrics["discriminator_loss"].weight, metrics["generator_loss"].weight) == (8, 4)
    small.assert_same(after.discriminator.params, state.discriminator.params, rtol=1e-6, atol=1e-8)
    moved = small.norm(jax.tree.map(jnp.subtract, after.generator.params, state.generator.params))
    assert moved > 1e-4
    with pytest.raises(UserError, match=r"critic_steps=2 times .* and one of 7 cannot be"):
        jax.eval_shape(task.step, state, batch_of(7), small.KEY)


def test_real_images_are_judged_as_their_classes_and_made_ones_as_those_of_their_latents():
    networks = models.generator("dcgan_test", discriminator_norm="none", num_classes=6)
    task = task_of(small.recorder(), networks)
    latents = gan.draw_latents(networks.generator, jax.random.fold_in(small.KEY, 0), 4)
    asked = networks.generator.labels(latents)
    other = min({*range(6)} - {*asked.tolist()})
    batch = {**batch_of(4), "label": jnp.full(4, other, jnp.int32)}
    state = small.init(task, batch)
    after, metrics = small.step(task, state, batch)
    gradient = after.discriminator.opt_state[0][0]["score"]["kernel"]
    seen = np.abs(np.asarray(gradient)).max(axis=(0, 1, 2)) > 0
    assert {*np.flatnonzero(seen).tolist()} == {other, *asked.tolist()} != {*range(6)}

    variables = {"params": state.discriminator.params}
    made, _ = gan.forward(networks.generator, *state.generator[1:3], latents)
    scores = jax.jit(networks.discriminator.apply)(variables, made, asked)
    expected = float(jnp.mean(jax.nn.softplus(-scores)))
    assert small.values(metrics)["generator_loss"] == pytest.approx(expected, rel=1e-5)

    found = small.predict(task, state, {**batch, "latent": latents})
    judge = jax.jit(networks.discriminator.apply)
    for name, images, labels in (
        ("real_score", batch["image"], batch["label"]),
        ("made_score", found["images"], asked),
    ):
        expected = judge(variables, images, labels)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)


LOSSES = {
    "non_saturating": (lambda r, m: np.log1p(np.exp(-r)) + np.log1p(np.exp(m)),
                       lambda m: np.log1p(np.exp(-m))),
    "wasserstein": (lambda r, m: m - r, lambda m: -m),
    "least_squares": (lambda r, m: ((r - 1) ** 2 + m**2) / 2, lambda m: (m - 1) ** 2),
    "hinge": (lambda r, m: np.maximum(0, 1 - r) + np.maximum(0, 1 + m), lambda m: -m),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name):
    real, made = np.asarray([-3.0, 0.0, 0.5, 2.0]), np.asarray([2.0, 0.0, -0.5, -4.0])
    loss = gan.LOSSES[name]
    of_critic, of_generator = LOSSES[name]
    found = loss.discriminator(jnp.asarray(real), jnp.asarray(made))
    np.testing.assert_allclose(found, of_critic(real, made), rtol=1e-5, atol=1e-6)
    found = loss.generator(jnp.asarray(made))
    np.testing.assert_allclose(found, of_generator(made), rtol=1e-5, atol=1e-6)


def run_over(name, num_devices, networks, tx):
    """One step by a strategy; (state, metrics) on the host."""
    strategy = parallel.make_strategy(strategy=name, num_devices=num_devices)
    task = gan.make(networks, tx)

    def step(state, tally, batch, key):
        state, metrics = task.step(state, batch, key)
        return state, strategy.total(metrics)

    state = strategy.unpack(small.init(task, batch_of()))
    batch = strategy.put({name: np.asarray(x) for name, x in batch_of().items()})
    run = strategy.step(step)
    nothing = strategy.unpack(jnp.zeros(()))
    return strategy.fetch(run(state, nothing, batch, strategy.share(small.KEY)))


def test_a_mesh_gives_what_one_device_gives():
    networks = models.generator("dcgan_test")
    one, four = (run_over("mesh", count, networks, optax.sgd(0.1)) for count in (1, 4))
    small.assert_same(all_params(four[0]), all_params(one[0]), rtol=1e-4, atol=1e-6)
    small.assert_same(four[1], one[1], rtol=1e-4, atol=1e-6)


def test_replicas_of_a_pmap_are_those_of_a_map_on_one_device():
    """They draw their own latents, so it is no mesh; norms and gradients are of all of them."""
    networks = models.generator("dcgan_test", axis_name=AXIS)
    tx = optax.chain(optim.average_gradients(AXIS), optax.sgd(0.1))
    task = gan.make(networks, tx)
    state = small.init(task, batch_of())

    def replica(batch, index):
        new, metrics = task.step(state, batch, jax.random.fold_in(small.KEY, index))
        return new, jax.lax.psum(metrics, AXIS)

    parts = {name: x.reshape(4, 2, *x.shape[1:]) for name, x in batch_of().items()}
    mapped = jax.jit(jax.vmap(replica, axis_name=AXIS))(parts, jnp.arange(4))
    mapped = jax.tree.map(lambda x: x[0], mapped)
    found = run_over("pmap", 4, networks, tx)
    small.assert_same(all_params(found[0]), all_params(mapped[0]), rtol=1e-4, atol=1e-6)
    small.assert_same(found[1], mapped[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hing"}, "unknown value of task.loss 'hing'; did you mean 'hinge'"),
        ({"gradient_penalty": -1.0}, "task.gradient_penalty must be at least 0"),
        ({"critic_steps": 0}, "task.critic_steps must be at least 1"),
        ({"discriminator_rate": 0.0}, "task.discriminator_rate must be above 0"),
    ],
)
def test_mistakes_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        task_of(**options)


def test_what_does_not_fit_is_one_clear_line():
    small_images = {"image": jnp.zeros((2, 32, 32, 3))}
    with pytest.raises(UserError, match="makes images of 28x28x1, and those of the data are 32x32"):
        jax.eval_shape(task_of().init, small.KEY, small_images)
    with pytest.raises(UserError, match="the discriminator has batch norm; set model"):
        jax.eval_shape(task_of(gradient_penalty=1.0).init, small.KEY, batch_of())
    networks = models.generator("dcgan_test", num_classes=6)
    for others in ({}, {"label": jnp.zeros(8)}):
        with pytest.raises(UserError, match="these images have not one class each"):
            jax.eval_shape(task_of(networks=networks).init, small.KEY, {**batch_of(), **others})
