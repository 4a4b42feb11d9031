import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.errors import UserError

X = np.linspace(-8, 8, 33, dtype=np.float32)
SIGMOID = 1 / (1 + np.exp(-X))
EXPECTED = {
    "gelu": [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in X],
    "hard_sigmoid": np.clip(X + 3, 0, 6) / 6,
    "hard_swish": X * np.clip(X + 3, 0, 6) / 6,
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "relu": np.maximum(X, 0),
    "relu6": np.clip(X, 0, 6),
    "scaled_tanh": 1.7159 * np.tanh(2 / 3 * X),
    "sigmoid": SIGMOID,
    "silu": X * SIGMOID,
    "tanh": np.tanh(X),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_is_its_formula(name):
    # 1e-6 tells the exact GELU from the tanh approximation, which is off by 5e-4.
    np.testing.assert_allclose(nn.activation(name)(jnp.asarray(X)), EXPECTED[name], atol=1e-6)


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'leaky_relu'"):
        nn.activation("leakyrelu")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_slope_of_gelu_in_half_precision_is_the_exact_one_rounded_once(dtype):
    x = jnp.linspace(-6, 6, 97).astype(dtype)
    slope = jax.vmap(jax.grad(nn.activation("gelu")))(x)
    assert slope.dtype == dtype
    wide = x.astype(jnp.float32)
    exact = jax.vmap(jax.grad(lambda v: jax.nn.gelu(v, approximate=False)))(wide)
    np.testing.assert_allclose(
        slope.astype(jnp.float32), exact, rtol=float(jnp.finfo(dtype).eps), atol=1e-6
    )
