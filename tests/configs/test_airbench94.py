"""airbench94's curves and factors at named steps, against the values of its code."""

import jax
import numpy as np
import optax
import pytest

from cnn import experiment as experiments
from cnn.cli import config_file

PEAK = 11.5 / (1 + 1 / 0.15)


@pytest.fixture(scope="module")
def run():
    config = config_file.read("configs/cifar10/airbench94.py", ["--config.parallel.num_devices=1"])
    facts = experiments.DataFacts(tuple("abcdefghij"), num_train=50_000, num_eval=10_000)
    return experiments.build_without_data(config, facts)


def test_it_is_as_long_as_the_papers_and_its_rate_a_triangle(run):
    assert (run.loop.num_steps, run.steps_per_epoch) == (476, 48)
    # np.interp over [0, 109, 476] of [0.2, 1, 0.07].
    expected = {0: 0.2 * PEAK, 54: (0.2 + 0.8 * 54 / 109) * PEAK, 109: PEAK}
    expected |= {300: (1 - 0.93 * 191 / 367) * PEAK, 475: (0.07 + 0.93 / 367) * PEAK}
    assert {step: run.learning_rate(step) for step in expected} == pytest.approx(expected, rel=1e-5)


def test_what_is_frozen_and_what_learns_faster(run):
    config = run.config
    schedule = optax.constant_schedule(1.0)
    decay = experiments.call(config, "regularization")
    optimizer = experiments.call(config, "optimizer", schedule, decay, layers_above=None)
    tx = experiments.call(config, "rates", optimizer, 1)  # an epoch is a step
    shapes = run.abstract_state().params
    params = jax.tree.map(lambda x: np.full(x.shape, 2.0, np.float32), shapes)
    gradients = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)

    @jax.jit
    def update(gradients, state):
        return tx.update(gradients, state, params)

    def moved(gradients, state):
        updates, state = update(gradients, state)
        body = updates["backbone"]
        group = body["group1"]
        parts = (
            body["stem_conv"]["kernel"],
            body["stem_conv"]["bias"],
            group["conv0"]["kernel"],
            group["norm1"]["bias"],
            group["norm1"]["scale"],
            updates["head"]["logits"]["kernel"],
        )
        return [float(part.ravel()[0]) for part in parts], state

    # Nesterov's first step of a gradient is 1.85 of it.
    state = tx.init(params)
    none, _ = moved(jax.tree.map(np.zeros_like, params), state)
    pull = -PEAK * 1.85 * 2.0 * 0.0153 / 11.5
    assert none == pytest.approx([0, pull, pull, pull, 0, pull], rel=1e-5)
    one, state = moved(gradients, state)
    step = -PEAK * 1.85
    assert one[1:4] == pytest.approx([step + pull, step + pull, 64 * step + pull], rel=1e-4)
    assert one[0] == 0
    for _ in range(3):
        later, state = moved(gradients, state)
    # The bias of the whitening layer is trained for three epochs.
    assert (later[1] == 0, later[2] != 0) == (True, True)
