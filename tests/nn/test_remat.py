import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn
from cnn.errors import UserError


def test_an_unknown_mode_names_the_nearest():
    with pytest.raises(UserError, match=r"'blocks'.*block"):
        nn.remat("blocks", flax.linen.Dense(1))


class Sequence(flax.linen.Module):
    """Two layers that are no modules of their own."""

    mode: str

    @flax.linen.compact
    def __call__(self, x, *, train):
        for index in range(2):
            layer = functools.partial(Sequence._layer, index=index)
            x, extra = nn.remat(self.mode, self, layer)((x, x), train=train)
        return x + extra

    def _layer(self, pair, *, train, index):
        x = flax.linen.Dense(8, name=f"dense{index}")(pair[0] + pair[1])
        dropout = flax.linen.Dropout(0.5, name=f"dropout{index}")
        return dropout(jnp.tanh(x), deterministic=not train), jnp.sin(x)


@pytest.mark.parametrize("mode", ["block", "dots"])
def test_a_method_of_a_pytree_stays_where_it_is(mode):
    """Its parameters have the same paths, it draws the same, and less of it is kept."""
    x = jnp.ones((3, 8))

    def run(mode):
        model = Sequence(mode)
        params = model.init(jax.random.key(0), x, train=False)

        def apply(params):
            return model.apply(params, x, train=True, rngs={"dropout": jax.random.key(1)})

        y, backward = jax.vjp(apply, params)
        kept = sum(leaf.size for leaf in jax.tree.leaves(backward))
        return kept, (params, y, backward(y)[0])

    kept, expected = run("none")
    less, ours = run(mode)
    assert less < kept
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)
