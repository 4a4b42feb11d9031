import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.errors import UserError
from cnn.ops.window import pair, sides

# A third of it negative, which counts as zero.
X = np.random.default_rng(0).standard_normal((2, 7, 6, 3)).astype(np.float32) + 0.5
WINDOWS = [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), ((0, 1), (1, 0)))]


def windows(x, window, stride, padding):
    """The values of each window: [batch, height, width, channels, taps]."""
    x = np.pad(np.maximum(x, 0), ((0, 0), *sides(padding), (0, 0)))
    (rows, columns), (down, right) = pair(window), pair(stride if stride is not None else window)
    out = [
        [
            x[:, i : i + rows, j : j + columns].transpose(0, 3, 1, 2).reshape(*x.shape[::3], -1)
            for j in range(0, x.shape[2] - columns + 1, right)
        ]
        for i in range(0, x.shape[1] - rows + 1, down)
    ]
    return np.asarray(out).transpose(2, 0, 1, 3, 4)


@pytest.mark.parametrize(("window", "stride", "padding"), WINDOWS)
def test_the_weighted_form_is_its_definition(window, stride, padding):
    ours = ops.probability_weighted_pool(jnp.asarray(X), window, stride=stride, padding=padding)
    expected = np.zeros(ours.shape)
    values = windows(X, window, stride, padding)
    for place in np.ndindex(*values.shape[:-1]):
        total = sum(values[place])
        expected[place] = sum(v / total * v for v in values[place]) if total > 0 else 0
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("window", "stride", "padding"), WINDOWS)
def test_a_value_is_drawn_as_often_as_it_is_large(window, stride, padding):
    values = windows(X, window, stride, padding)
    draw = jax.vmap(
        lambda key: ops.stochastic_pool(
            jnp.asarray(X), window, key=key, stride=stride, padding=padding
        )
    )
    draws = np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(0), 4000)))
    total = values.sum(-1, keepdims=True)
    probabilities = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    for tap in range(values.shape[-1]):
        often = np.mean(draws == values[None, ..., tap], axis=0)
        # Equal values of a window (zeros, but for windows of zeros alone) are drawn together.
        alone = values[..., tap] > 0
        # Five deviations of a mean of 4,000 draws.
        np.testing.assert_allclose(often[alone], probabilities[alone, tap], atol=0.04)
    np.testing.assert_array_equal(draws[:, total[..., 0] == 0], 0)
    assert np.all((draws > 0) == (total[..., 0] > 0)[None])


def test_windows_without_a_positive_value_give_nothing_and_no_gradient():
    x = jnp.stack([jnp.zeros((1, 2, 2)), -jnp.ones((1, 2, 2))], axis=-1)
    key = jax.random.key(0)
    for pool in (
        ops.probability_weighted_pool,
        lambda x, window: ops.stochastic_pool(x, window, key=key),
    ):
        np.testing.assert_array_equal(pool(x, 2), np.zeros((1, 1, 1, 2)))
        gradient = jax.grad(lambda x, pool=pool: jnp.sum(pool(x, 2)))(x)
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[..., 1], 0)


def test_the_gradient_goes_to_the_value_that_was_drawn():
    x, key = jnp.abs(jnp.asarray(X)[:, :6]), jax.random.key(3)
    pooled, backward = jax.vjp(lambda x: ops.stochastic_pool(x, 2, key=key), x)
    (gradient,) = backward(jnp.ones_like(pooled))
    values = windows(np.asarray(x), 2, None, 0)
    ones = windows(np.asarray(gradient), 2, None, 0)
    np.testing.assert_array_equal(ones, values == np.asarray(pooled)[..., None])


def test_windows_and_channels_draw_by_themselves():
    x = jnp.broadcast_to(jnp.arange(1.0, 5).reshape(1, 2, 2, 1), (1, 2, 2, 64))
    x = jnp.tile(x, (2, 3, 1, 1))
    pooled = np.asarray(ops.stochastic_pool(x, 2, key=jax.random.key(0)))
    assert {1.0, 2.0, 3.0, 4.0} == set(pooled.ravel().tolist())
    assert len({tuple(row) for row in pooled.reshape(-1, 64).tolist()}) == 6


def test_bfloat16_is_kept():
    x = jnp.asarray(X, jnp.bfloat16)
    drawn = ops.stochastic_pool(x, 2, key=jax.random.key(0))
    assert drawn.dtype == ops.probability_weighted_pool(x, 2).dtype == jnp.bfloat16


def test_a_window_larger_than_the_image_is_an_error():
    with pytest.raises(UserError, match="too small"):
        ops.probability_weighted_pool(jnp.ones((1, 2, 2, 1)), 3)
    with pytest.raises(UserError, match="too small"):
        ops.stochastic_pool(jnp.ones((1, 2, 2, 1)), 3, key=jax.random.key(0))
