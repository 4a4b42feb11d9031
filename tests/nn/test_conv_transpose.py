import jax
import jax.numpy as jnp
import numpy as np

from cnn import nn, ops

X = jax.random.normal(jax.random.key(1), (2, 3, 3, 6))


def test_parameters_and_result():
    layer = nn.ConvTranspose(4, 3, padding=1, output_padding=1, use_bias=True)
    params = layer.init(jax.random.key(0), X)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 3, 4, 6), "bias": (4,)}
    bias = jnp.arange(4.0)
    y = layer.apply({"params": {**params, "bias": bias}}, X)
    expected = ops.conv_transpose(X, params["kernel"], stride=2, padding=1, output_padding=1)
    assert y.shape == (2, 6, 6, 4)
    np.testing.assert_allclose(y, expected + bias.reshape(1, 1, 1, 4), rtol=1e-6, atol=1e-6)


def test_bfloat16_is_of_the_computation_only():
    y, variables = nn.ConvTranspose(4, 4, dtype="bfloat16").init_with_output(jax.random.key(0), X)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
