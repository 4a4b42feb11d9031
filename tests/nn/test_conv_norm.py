import jax
import numpy as np
import pytest
from flax import linen

from cnn import nn

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
STYLE = nn.Style("silu", "se", 0.75, 0.5, nn.Sync(), "float32")


class Layer(linen.Module):
    activation: str = ""

    @linen.compact
    def __call__(self, x, *, train):
        return nn.conv_norm(
            x,
            "first",
            STYLE,
            train=train,
            activation=self.activation,
            features=4,
            kernel_size=3,
            stride=2,
        )


def test_it_is_a_convolution_a_norm_and_an_activation():
    variables = Layer().init(jax.random.key(1), X, train=False)
    assert set(variables["params"]) == {"first_conv", "first_norm"}
    conv = {"params": variables["params"]["first_conv"]}
    y = np.asarray(nn.Conv(4, 3, stride=2).apply(conv, X))
    expected = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + STYLE.epsilon)
    ours, state = Layer().apply(variables, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    mean = state["batch_stats"]["first_norm"]["mean"]
    np.testing.assert_allclose(mean, 0.25 * y.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_the_activation_is_the_layer_s(activation):
    variables = Layer().init(jax.random.key(1), X, train=False)
    plain = Layer().apply(variables, X, train=False)
    ours = Layer(activation).apply(variables, X, train=False)
    np.testing.assert_allclose(ours, nn.activation(activation)(plain), rtol=1e-5)
