"""The bound of an autoencoder against closed forms, and that it is learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from cnn import models
from cnn.data import digits
from cnn.errors import UserError
from cnn.tasks import vae
from tests.tasks import small

DIGITS = digits.mnist5k().train


def batch_of(count=8):
    images = np.stack([DIGITS[index * 400]["image"] for index in range(count)])
    weight = jnp.ones(count, jnp.float32)
    return {"image": jnp.asarray(images, jnp.float32) / 127.5 - 1, "weight": weight}


def task_of(tx=None, **options):
    return vae.make(models.generator("vae_test"), tx or optax.adam(1e-2), **options)


def test_eight_images_are_learnt():
    batch = batch_of()
    task = task_of()
    state, step = small.init(task, batch), jax.jit(task.step)
    before = small.values(small.evaluate(task, state, batch))
    for count in range(150):
        state, metrics = step(state, batch, jax.random.fold_in(small.KEY, count))
    after = small.values(small.evaluate(task, state, batch))
    assert after["loss"] < 0.4 * before["loss"]
    assert after["loss"] == pytest.approx(after["reconstruction"] + after["divergence"], rel=1e-5)
    # Latents are used: what they say of an image costs something.
    assert after["divergence"] > 1
    assert set(small.values(metrics)) == {"loss", "reconstruction", "divergence"}


def test_the_divergence_is_its_integral():
    mean, std = 0.7, 0.4
    x = np.linspace(-8, 8, 200_001)
    density = scipy.stats.norm.pdf(x, mean, std)
    ratio = scipy.stats.norm.logpdf(x, mean, std) - scipy.stats.norm.logpdf(x)
    expected = np.trapezoid(density * ratio, x)
    found = vae.divergence_from_normal(
        jnp.full((1, 3), mean), jnp.full((1, 3), 2 * np.log(std), jnp.float32)
    )
    np.testing.assert_allclose(found, [3 * expected], rtol=1e-5)


@pytest.fixture(scope="module")
def still():
    """A state whose encoder says the same of all images: their latents are those drawn."""
    batch = batch_of()
    state = small.init(task_of(), batch)
    encoder = {
        **state.params["encoder"],
        "latents": jax.tree.map(jnp.zeros_like, state.params["encoder"]["latents"]),
    }
    return batch, state._replace(params={**state.params, "encoder": encoder})


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_reconstruction_is_a_logarithm_of_probability(still, likelihood):
    batch, state = still
    task = task_of(likelihood=likelihood, noise_std=0.3)
    found = small.predict(task, state, batch)
    latents = jax.random.normal(jax.random.key(0), (8, 3))
    made = small.predict(task, state, {"latent": latents})["images"]
    made, real = (np.asarray((x + 1) / 2, np.float64) for x in (made, batch["image"]))
    if likelihood == "bernoulli":
        log = real * np.log(made) + (1 - real) * np.log(1 - made)
    else:
        log = scipy.stats.norm.logpdf(real, made, 0.3)
    np.testing.assert_allclose(found["reconstruction"], -log.sum(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(found["divergence"], np.zeros(8), atol=1e-6)


def test_padding_counts_nowhere(still):
    batch, state = still
    weight = batch["weight"].at[5:].set(0.0)
    task, found = task_of(small.recorder()), []
    for fill in (0.5, jnp.nan):
        padded = {"image": batch["image"].at[5:].set(fill), "weight": weight}
        after, metrics = small.step(task, state._replace(opt_state=task_state(task)), padded)
        found.append((after.opt_state, metrics, small.evaluate(task, state, padded)))
    small.assert_same(found[1], found[0], rtol=1e-6)
    assert found[0][1]["loss"].weight == found[0][2]["loss"].weight == 5


def task_state(task):
    return small.init(task, batch_of()).opt_state


def test_the_divergence_counts_by_its_weight(still):
    batch, state = still
    norms = []
    for weight in (0.0, 1.0):
        task = task_of(small.recorder(), divergence_weight=weight)
        shifted = {**state.params["encoder"]["latents"]}
        shifted["bias"] = jnp.ones_like(shifted["bias"])
        params = {**state.params, "encoder": {**state.params["encoder"], "latents": shifted}}
        moved = state._replace(params=params, opt_state=task_state(task))
        after, _ = small.step(task, moved, batch)
        norms.append(after.opt_state[0]["encoder"]["latents"]["bias"])
    # Of mean 1 and variance e the divergence's derivatives are 1 and (e - 1) / 2.
    expected = np.repeat([1.0, (np.e - 1) / 2], 3)
    np.testing.assert_allclose(norms[1] - norms[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "gausian"}, "unknown value of task.likelihood 'gausian'; did you mean"),
        ({"noise_std": 0.0}, "task.noise_std must be above 0"),
        ({"divergence_weight": -1.0}, "task.divergence_weight must be at least 0"),
    ],
)
def test_mistakes_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        task_of(**options)
