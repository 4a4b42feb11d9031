import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from tests.ops.test_against_stock import check, draw
from tests.ops.test_onednn import CALL


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 3, 5, 6)])
def test_it_is_the_product(shape):
    x, kernel = draw(0, *shape), draw(1, 6, 7)
    np.testing.assert_allclose(ops.dense(x, kernel), jnp.matmul(x, kernel), rtol=1e-5, atol=1e-5)
    check(ops.dense, x, kernel)


def test_it_is_with_the_library(keeps_nothing):
    x, kernel = draw(0, 2, 5, 6), draw(1, 6, 7)
    check(ops.dense, x, kernel)
    gradient = jax.jit(jax.grad(lambda k: jnp.square(ops.dense(x, k)).sum()))
    assert CALL in gradient.lower(kernel).as_text()


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_mapped(axes):
    x = draw(0, *(3,) * (axes[0] == 0), 4, 6)
    kernel = draw(1, *(3,) * (axes[1] == 0), 6, 5)
    check(jax.vmap(ops.dense, axes), x, kernel)


def test_other_products_are_refused_and_other_precisions_lax_own():
    x, kernel = draw(0, 4, 6), draw(1, 6, 7)
    with pytest.raises(ValueError, match="has the dimension numbers"):
        ops.dense(x, kernel, (((0,), (0,)), ((), ())))
    text = str(jax.make_jaxpr(lambda x, k: ops.dense(x, k, precision="highest"))(x, kernel))
    assert "HIGHEST" in text
