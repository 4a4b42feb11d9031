import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.errors import UserError

X = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))


def test_channels_are_weighted_by_a_gate_of_their_means():
    layer = nn.SqueezeExcitation(3)
    variables = layer.init(jax.random.key(1), X)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)
    reduce, expand = (
        {key: np.asarray(leaf) for key, leaf in variables["params"][name].items()}
        for name in ("reduce", "expand")
    )
    x = np.asarray(X)
    hidden = np.maximum(x.mean((1, 2)) @ reduce["kernel"] + reduce["bias"][None], 0)
    gate = 1 / (1 + np.exp(-(hidden @ expand["kernel"] + expand["bias"][None])))
    assert reduce["kernel"].shape == (4, 3)
    np.testing.assert_allclose(
        layer.apply(variables, X), x * gate[:, None, None], rtol=1e-5, atol=1e-6
    )


def test_the_gate_is_a_field():
    layer = nn.SqueezeExcitation(3, gate="hard_sigmoid")
    variables = layer.init(jax.random.key(1), X)
    variables["params"]["expand"]["bias"] = jnp.array([-9.0, 9.0, -9.0, 9.0])
    y = layer.apply(variables, X)
    np.testing.assert_array_equal(y, np.asarray(X) * np.array([0.0, 1.0, 0.0, 1.0], np.float32))
    with pytest.raises(UserError, match="unknown activation"):
        nn.SqueezeExcitation(3, gate="hard").init(jax.random.key(1), X)


def test_bfloat16_is_kept():
    y, variables = nn.SqueezeExcitation(3, dtype="bfloat16").init_with_output(
        jax.random.key(1), X.astype(jnp.bfloat16)
    )
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


@pytest.mark.parametrize(("channels", "units"), [(16, 8), (64, 8), (256, 16), (320, 24)])
def test_without_a_number_a_sixteenth_of_the_channels_is_between_the_layers(channels, units):
    shapes = jax.eval_shape(
        nn.SqueezeExcitation().init, jax.random.key(0), jnp.ones((1, 2, 2, channels))
    )
    assert shapes["params"]["reduce"]["kernel"].shape == (channels, units)
