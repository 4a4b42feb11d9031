import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jaxtyping import Array, Float

from cnn import nn


class Net(linen.Module):
    """Two layers, one of them called twice."""

    @linen.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "..."]:
        x = nn.Conv(2, 3, name="first")(x)
        again = linen.Dense(2, name="second")
        return again(jax.nn.relu(again(x)))


def test_inputs_and_outputs_of_each_layer_in_order():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3), np.float32))
    variables = Net().init(jax.random.key(0), x)
    calls = nn.record(Net(), variables, x)
    assert list(calls) == ["first", "second", ""]
    first, second = calls["first"], calls["second"]
    assert first.kind is nn.Conv
    assert first.fields["kernel_size"] == 3
    np.testing.assert_array_equal(first.inputs, x)
    # Of the second layer the first call.
    np.testing.assert_array_equal(second.inputs, first.output)
    kernel, bias = (variables["params"]["second"][name] for name in ("kernel", "bias"))
    want = first.output @ kernel + bias.reshape(1, 1, 1, -1)
    np.testing.assert_allclose(second.output, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(calls[""].output, Net().apply(variables, x), rtol=1e-5, atol=1e-6)
