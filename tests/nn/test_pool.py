import flax.errors
import jax
import numpy as np
import pytest

from cnn import nn, ops
from cnn.errors import UserError

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
POOLS = {
    "avg": ops.avg_pool,
    "max": ops.max_pool,
    "stochastic": ops.probability_weighted_pool,
}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize(("window", "stride"), [(2, None), (3, 2)])
def test_kinds_in_evaluation(kind, window, stride):
    ours = nn.Pool(kind, window, stride).apply({}, X, train=False)
    np.testing.assert_array_equal(ours, POOLS[kind](X, window, stride=stride))


def test_only_the_stochastic_one_draws_and_only_in_training():
    for kind in ("avg", "max"):
        ours = nn.Pool(kind, 2).apply({}, X, train=True)
        np.testing.assert_array_equal(ours, POOLS[kind](X, 2))
    pool = nn.Pool("stochastic", 3, 2)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        pool.apply({}, X, train=True)
    first, again, other = (
        np.asarray(pool.apply({}, X, train=True, rngs={"dropout": jax.random.key(key)}))
        for key in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert first.shape == (2, 2, 2, 3)


def test_ceil_mode_keeps_the_last_row_and_column():
    odd = X[:, :5, :3]
    ours = nn.Pool("max", 2, ceil_mode=True).apply({}, odd, train=False)
    np.testing.assert_array_equal(ours, ops.max_pool(odd, 2, ceil_mode=True))
    assert ours.shape == (2, 3, 2, 3)
    with pytest.raises(UserError, match="pooling with ceil_mode must be 'max', got 'avg'"):
        nn.Pool("avg", 2, ceil_mode=True).apply({}, odd, train=False)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="unknown pool 'average'; did you mean 'avg'"):
        nn.Pool("average", 2).apply({}, X, train=True)
