import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops

RANDOM = np.random.default_rng(0)
SCORES = jnp.asarray(3 * RANDOM.normal(size=(2, 5, 7)), jnp.float32)
WEIGHTS = jnp.asarray(RANDOM.normal(size=(2, 5, 7)), jnp.float32)


def total(scores, dtype):
    return jnp.sum(ops.softmax(scores, dtype).astype(jnp.float32) * WEIGHTS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_it_is_the_softmax_rounded(dtype):
    found = ops.softmax(SCORES, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, jax.nn.softmax(SCORES).astype(dtype))


def test_in_float32_nothing_changes():
    found = jax.grad(total)(SCORES, "float32")
    np.testing.assert_array_equal(
        found, jax.grad(lambda s: jnp.sum(jax.nn.softmax(s) * WEIGHTS))(SCORES)
    )


def test_the_derivative_is_that_at_the_rounded_result():
    found = jax.grad(total)(SCORES, "bfloat16")
    rounded = jax.nn.softmax(SCORES).astype(jnp.bfloat16).astype(jnp.float32)
    weights = WEIGHTS.astype(jnp.bfloat16).astype(jnp.float32)
    expected = rounded * (weights - jnp.sum(rounded * weights, -1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == jnp.float32


def test_forward_and_reverse_agree():
    change = jnp.asarray(RANDOM.normal(size=SCORES.shape), jnp.float32)
    _, forward = jax.jvp(lambda s: total(s, "bfloat16"), (SCORES,), (change,))
    reverse = jnp.vdot(jax.grad(total)(SCORES, "bfloat16"), change)
    # The tangent is rounded to bfloat16 before it is summed, the gradient after.
    np.testing.assert_allclose(forward, reverse, rtol=2**-7, atol=2**-7)
