import jax
import jax.numpy as jnp
import numpy as np

from cnn import nn

FEATURES = nn.Features({}, jnp.linspace(-1, 1, 4 * 64).reshape(4, 64))


def test_logits_are_one_dense_layer():
    logits, variables = nn.LinearHead(5, dropout_rate=0.5).init_with_output(
        jax.random.key(0), FEATURES
    )
    layer = variables["params"]["logits"]
    expected = FEATURES.pooled @ layer["kernel"] + layer["bias"].reshape(1, 5)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_dropout_in_training_only():
    head = nn.LinearHead(5, dropout_rate=0.5)
    variables = head.init(jax.random.key(0), FEATURES)
    first, second = (
        head.apply(variables, FEATURES, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_logits_of_bfloat16_are_float32():
    features = nn.Features({}, FEATURES.pooled.astype(jnp.bfloat16))
    logits, variables = nn.LinearHead(5, dtype="bfloat16").init_with_output(
        jax.random.key(0), features
    )
    assert logits.dtype == jnp.float32
    assert variables["params"]["logits"]["kernel"].dtype == jnp.float32
