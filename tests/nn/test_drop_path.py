import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn

X = jnp.ones((4000, 2, 3))


def run(rate, train, key=None):
    rngs = {} if key is None else {"dropout": jax.random.key(key)}
    return np.asarray(nn.DropPath(rate).apply({}, X, train=train, rngs=rngs))


def test_whole_examples_are_dropped_and_the_mean_is_kept():
    y = run(0.25, True, key=0)
    first = y[:, 0, 0]
    np.testing.assert_array_equal(y, np.broadcast_to(first[:, None, None], y.shape))
    np.testing.assert_allclose(np.unique(first), [0, 1 / 0.75], rtol=1e-6)
    np.testing.assert_allclose((first == 0).mean(), 0.25, atol=0.03)


def test_the_key_decides():
    np.testing.assert_array_equal(run(0.5, True, key=1), run(0.5, True, key=1))
    assert not np.array_equal(run(0.5, True, key=1), run(0.5, True, key=2))


@pytest.mark.parametrize(("rate", "train"), [(0.0, True), (0.5, False)])
def test_nothing_is_dropped_without_rate_or_training(rate, train):
    np.testing.assert_array_equal(run(rate, train), X)


def test_training_needs_a_key():
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        run(0.5, True)


def test_rates_rise_linearly():
    np.testing.assert_allclose(nn.rising_rates(0.4, 5), [0, 0.1, 0.2, 0.3, 0.4])
    assert nn.rising_rates(0.4, 1) == (0.0,)
