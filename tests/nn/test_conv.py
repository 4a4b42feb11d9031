import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn, ops

X = jax.random.normal(jax.random.key(1), (2, 9, 8, 6))


def test_parameters_and_result():
    layer = nn.Conv(4, (3, 1), stride=2, padding=1, groups=2, use_bias=True)
    params = layer.init(jax.random.key(0), X)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 1, 3, 4), "bias": (4,)}
    bias = jnp.arange(4.0)
    y = layer.apply({"params": {**params, "bias": bias}}, X)
    expected = ops.conv(X, params["kernel"], stride=2, padding=1, groups=2)
    np.testing.assert_allclose(y, expected + bias.reshape(1, 1, 1, 4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (7, 1), (3, 2), ((5, 3), 3)])
def test_by_default_the_size_is_kept(kernel_size, dilation):
    y, params = nn.Conv(4, kernel_size, dilation=dilation).init_with_output(jax.random.key(0), X)
    assert y.shape == (2, 9, 8, 4)
    assert "bias" not in params["params"]


def test_bfloat16_is_of_the_computation_only():
    y, params = nn.Conv(4, 3, dtype="bfloat16", use_bias=True).init_with_output(
        jax.random.key(0), X
    )
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_he_initialisation_is_by_fan_out():
    kernel = nn.Conv(256, 3).init(jax.random.key(0), X)["params"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 256)), rtol=0.03)
