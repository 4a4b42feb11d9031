"""Schedules at named steps, with and without warm-up."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.errors import UserError
from tests.optim.small import schedule


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("constant", {}, {0: 1, 50: 1, 99: 1}),
        ("cosine", {}, {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0, 200: 0}),
        ("cosine", {"end_factor": 0.2}, {0: 1, 50: 0.6, 100: 0.2}),
        ("linear", {}, {0: 1, 25: 0.75, 50: 0.5, 99: 0.01, 100: 0}),
        ("linear", {"end_factor": 0.5}, {0: 1, 50: 0.75, 100: 0.5, 150: 0.5}),
        (
            "step",
            {"decay_epochs": (3.0, 6.0), "decay_rate": 0.1},
            {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 99: 0.01},
        ),
        ("step", {"decay_epochs": (2.55,), "decay_rate": 0.5}, {25: 1, 26: 0.5}),
        ("step", {"decay_epochs": (3.0, 3.0)}, {29: 1, 30: 0.01}),
        ("step", {"decay_epochs": ()}, {0: 1, 99: 1}),
        (
            "exponential",
            {"decay_epochs": (2.0,), "decay_rate": 0.25},
            {0: 1, 10: 0.5, 20: 0.25, 40: 0.0625},
        ),
        ("quadratic", {}, {0: 1, 25: 0.5625, 50: 0.25, 90: 0.01, 100: 0}),
        ("quadratic", {"end_factor": 0.2}, {0: 1, 50: 0.4, 100: 0.2}),
        (
            "staircase",
            {"decay_epochs": (2.0,), "decay_rate": 0.5},
            {0: 1, 19: 1, 20: 0.5, 39: 0.5, 40: 0.25, 99: 0.0625},
        ),
    ],
)
def test_schedule_at_named_steps(name, values, expected):
    made = schedule(name, **values)
    assert {step: float(made(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_a_warm_up_may_start_above_zero_and_a_long_one_is_a_triangle():
    made = schedule("linear", warmup_epochs=2.3, start_factor=0.2, end_factor=0.07)
    expected = {0: 0.2, 10: 0.2 + 0.8 * 10 / 23, 23: 1.0, 50: 1 - 0.93 * 27 / 77, 100: 0.07}
    assert {step: float(made(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_start_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match=r"schedule\.start_factor must be"):
        schedule("linear", warmup_epochs=2.0, start_factor=value)


RISE = {0: 0, 5: 0.25, 10: 0.5, 19: 0.95}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("constant", {}, {20: 1, 99: 1}),
        ("cosine", {}, {20: 1, 60: 0.5, 100: 0}),
        ("linear", {"end_factor": 0.5}, {20: 1, 60: 0.75, 100: 0.5}),
        # Papers count the epochs of their steps from the start of the training.
        ("step", {"decay_epochs": (3.0, 6.0)}, {20: 1, 29: 1, 30: 0.1, 60: 0.01}),
        ("step", {"decay_epochs": (0.5, 1.0, 6.0)}, {20: 0.01, 59: 0.01, 60: 0.001}),
        ("exponential", {"decay_epochs": (2.0,), "decay_rate": 0.25}, {20: 1, 30: 0.5, 40: 0.25}),
        ("quadratic", {}, {20: 1, 60: 0.25, 100: 0}),
        # EfficientNet's stairs too: two of them lie within the warm-up.
        ("staircase", {"decay_epochs": (1.0,), "decay_rate": 0.5}, {20: 0.25, 29: 0.25, 30: 0.125}),
    ],
)
def test_every_schedule_warms_up_from_zero(name, values, expected):
    made = schedule(name, warmup_epochs=2.0, **values)
    expected = {**RISE, **expected}
    assert {step: float(made(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_a_trial_that_ends_within_the_warm_up_is_legal():
    made = schedule("cosine", num_steps=5, warmup_epochs=2.0)
    assert float(made(4)) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["cosine", "step", "exponential", "staircase"])
def test_a_schedule_is_traced(name):
    made = schedule(name, warmup_epochs=1.0, decay_epochs=(4.0,))
    steps = jnp.arange(100)
    traced = jax.jit(jax.vmap(made))(steps)
    np.testing.assert_allclose(traced, [float(made(step)) for step in range(100)], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"name": "exponential"}, "exponential schedule needs schedule.decay_epochs"),
        ({"name": "staircase"}, "staircase schedule needs schedule.decay_epochs"),
        ({"name": "cosine", "warmup_epochs": -1.0}, "schedule.warmup_epochs must be at least 0"),
        ({"name": "cosine", "end_factor": -0.1}, "schedule.end_factor must be at least 0"),
        ({"name": "step", "decay_rate": -0.1}, "schedule.decay_rate must be at least 0"),
        ({"name": "step", "decay_epochs": (3.0, -1.0)}, "schedule.decay_epochs must be at least 0"),
    ],
)
def test_wrong_schedules_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        schedule(**values)
