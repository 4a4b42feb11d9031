import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.nn.eca import eca_kernel_size

X = jax.random.normal(jax.random.key(0), (2, 3, 5, 16))


@pytest.mark.parametrize(
    ("channels", "size"),
    [(4, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7), (4096, 7)],
)
def test_the_kernel_grows_with_the_logarithm_of_the_channels(channels, size):
    assert eca_kernel_size(channels) == size


def test_a_channel_is_weighted_by_a_gate_of_its_neighbours_means():
    layer = nn.EfficientChannelAttention()
    variables = layer.init(jax.random.key(1), X)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"conv": {"kernel": (3, 1, 1)}}}
    kernel = np.array([0.5, -1.0, 2.0])
    variables = {"params": {"conv": {"kernel": jnp.asarray(kernel, jnp.float32).reshape(3, 1, 1)}}}
    x = np.asarray(X, np.float64)
    means = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
    expected = np.empty_like(x)
    for channel in range(16):
        gate = 1 / (1 + np.exp(-(means[:, channel : channel + 3] @ kernel)))
        expected[..., channel] = x[..., channel] * gate[:, None, None]
    np.testing.assert_allclose(layer.apply(variables, X), expected, rtol=1e-5, atol=1e-6)
