import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.errors import UserError

X = jax.random.normal(jax.random.key(0), (2, 3, 5, 64))


class Block(flax.linen.Module):
    kind: str
    squeezed: int | None = None
    gate: str = "sigmoid"
    dtype: str = "float32"

    @flax.linen.compact
    def __call__(self, x):
        weigh = nn.attention(self.kind, squeezed=self.squeezed, gate=self.gate, dtype=self.dtype)
        return weigh(x, train=False)


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("se", {"reduce", "expand"}),
        ("eca", {"conv"}),
        ("cbam", {"channel_reduce", "channel_expand", "spatial_conv", "spatial_norm"}),
    ],
)
def test_kinds(kind, layers):
    y, variables = Block(kind).init_with_output(jax.random.key(1), X)
    assert set(variables["params"]["attention"]) == layers
    assert y.shape == X.shape
    # Gates are below 1.
    assert np.all(np.abs(y) < np.abs(X))
    half = Block(kind, dtype="bfloat16").apply(variables, X.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_none_is_the_identity():
    y, variables = Block("none").init_with_output(jax.random.key(1), X)
    np.testing.assert_array_equal(y, X)
    assert not variables


def test_what_squeezes_takes_its_units_and_its_gate():
    _, variables = Block("se", squeezed=3).init_with_output(jax.random.key(1), X)
    assert variables["params"]["attention"]["reduce"]["kernel"].shape == (64, 3)
    soft, hard = (
        Block("se", squeezed=3, gate=gate).apply(variables, X) for gate in ("sigmoid", "tanh")
    )
    assert not np.allclose(soft, hard, atol=1e-2)


def test_an_unknown_kind_names_the_known():
    with pytest.raises(UserError, match=r"unknown attention 'cbamm'; did you mean 'cbam'"):
        Block("cbamm").init(jax.random.key(1), X)
