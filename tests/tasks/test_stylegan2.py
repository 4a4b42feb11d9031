"""StyleGAN2's training: mixed styles, and penalties now and then."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.data import digits
from cnn.errors import UserError
from cnn.tasks import stylegan2
from cnn.tasks.gan import State, begun
from tests.tasks import small

DIGITS = digits.mnist5k().train
# As small as it can be: it is compiling that takes the time.
NETWORKS = models.generator(
    "stylegan2_test", image_size=8, width_max=2, latent_size=4, mapping_depth=1
)


def batch_of(count=4):
    images = np.stack([DIGITS[index * 400]["image"][2:26:3, 2:26:3] for index in range(count)])
    return {"image": jnp.asarray(images, jnp.float32) / 127.5 - 1}


def task_of(tx=None, **options):
    return stylegan2.make(NETWORKS, tx or optax.adam(2e-3, b1=0.0, b2=0.99), **options)


@pytest.fixture(scope="module")
def trained():
    """Four images, the discriminator trained alone and then the generator."""
    task, batch = task_of(optax.adam(2e-2, b1=0.0, b2=0.99), r1_weight=0.01), batch_of()
    first, step = small.init(task, batch), jax.jit(task.step)
    state, states, lines = first, [], []
    for count in range(80):
        new, metrics = step(state, batch, jax.random.fold_in(small.KEY, count))
        states.append(new)
        if count < 40:
            # Its step decides when penalties are due.
            kept = state.generator._replace(step=new.generator.step)
            state = new._replace(generator=kept)
        else:
            state = new._replace(discriminator=state.discriminator)
        lines.append(metrics)
    return first, states, lines


def test_each_side_learns_against_the_other_that_stands_still(trained):
    first, taught, last = (small.values(trained[2][index]) for index in (0, 39, 79))
    assert taught["discriminator_loss"] < 0.7 * first["discriminator_loss"]
    assert last["generator_loss"] < taught["generator_loss"]
    assert last["made_score"] > taught["made_score"]


def test_penalties_come_every_so_many_steps(trained):
    lines = [small.values(metrics) for metrics in trained[2]]
    assert [index for index, line in enumerate(lines) if line["r1"]] == [0, 16, 32, 48, 64]
    due = [index for index, line in enumerate(lines) if line["path_length"]]
    assert due == list(range(0, 80, 4))


def test_the_first_penalties_are_their_definitions(trained):
    start, states, lines = trained
    images = batch_of()["image"]

    @jax.jit
    def slopes(params):
        return jax.grad(lambda x: NETWORKS.discriminator.apply({"params": params}, x).sum())(images)

    squares = np.square(np.asarray(slopes(start.discriminator.params), np.float64))
    assert small.values(lines[0])["r1"] == pytest.approx(squares.sum() / 4 / 2, rel=1e-4)
    # Of half of the images; the average moves by a hundredth.
    assert lines[0]["path_length"].weight == 2
    average = float(states[0].generator.model_state["path"]["average"])
    assert average == pytest.approx(0.01 * small.values(lines[0])["path_length"], rel=1e-4)


def test_a_penalty_counts_by_its_weight_for_the_steps_without(trained):
    start, _, lines = trained
    game = stylegan2._Game(NETWORKS.generator, NETWORKS.discriminator, stylegan2.Options())
    loss = stylegan2._critic_loss(game, start.generator.params, start.step)
    key = jax.random.fold_in(small.KEY, 0)
    total, (_, metrics) = jax.jit(loss)(start.discriminator.params, {}, batch_of(), key)
    values = small.values(metrics)
    assert values["r1"] == pytest.approx(small.values(lines[0])["r1"], rel=1e-4)
    expected = values["discriminator_loss"] + 10 * 16 * values["r1"]
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_fine_styles_may_be_of_other_latents():
    """Of images of 16 pixels, whose last two layers they are."""
    networks = models.generator("stylegan2_test", width_max=2, latent_size=4, mapping_depth=1)
    task = stylegan2.make(networks, optax.identity())
    latents, others = (jax.random.normal(jax.random.key(seed), (2, 4)) for seed in (1, 2))
    params = jax.jit(networks.generator.init)(small.KEY, latents)["params"]
    state = State(begun({"params": params}, optax.identity()), None)
    mixed = small.predict(task, state, {"latent": latents, "fine": others})["images"]

    @jax.jit
    def expected(params):
        variables = {"params": params}
        styles, fine = (
            networks.generator.apply(variables, x, method="styles") for x in (latents, others)
        )
        return [
            networks.generator.apply(variables, x, method="images")
            for x in (jnp.concatenate([styles[:, :4], fine[:, 4:]], axis=1), styles)
        ]

    crossed, alone = expected(params)
    np.testing.assert_allclose(mixed, crossed, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(mixed - alone).max()) > 1e-3


def test_styles_cross_where_they_are_told_to():
    first, second = jnp.zeros((3, 5, 2)), jnp.ones((3, 5, 2))
    found = stylegan2.mix(first, second, jnp.asarray([1, 3, 5]))
    assert np.asarray(found[:, :, 0]).tolist() == [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0] * 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r1_weight": -1.0}, "task.r1_weight must be at least 0"),
        ({"path_every_steps": 0}, "task.path_every_steps must be at least 1"),
        ({"mixing_rate": 1.5}, r"task.mixing_rate must be in \[0, 1\]"),
        ({"discriminator_rate": 0.0}, "task.discriminator_rate must be above 0"),
    ],
)
def test_mistakes_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        task_of(**options)
