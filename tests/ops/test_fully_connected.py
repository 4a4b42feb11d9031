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


@pytest.mark.parametrize("axes", [(0, None, None), (0, 0, 0), (None, None, 0)])
def test_with_a_bias(axes):
    x, kernel, bias = draw(0, 4, 6), draw(1, 6, 5), draw(2, 5)
    np.testing.assert_allclose(ops.dense(x, kernel, bias), x @ kernel + bias[None], rtol=1e-5)
    check(ops.dense, x, kernel, bias)
    arrays = [
        draw(i, *(3,) * (axis == 0), *s)
        for i, (axis, s) in enumerate(zip(axes, ((4, 6), (6, 5), (5,)), strict=True))
    ]
    check(jax.vmap(ops.dense, axes), *arrays)


def test_with_a_bias_and_the_library(keeps_nothing):
    x, kernel, bias = draw(0, 2, 5, 6), draw(1, 6, 7), draw(2, 7)
    check(ops.dense, x, kernel, bias)
    text = jax.jit(ops.dense).lower(x, kernel, bias).as_text()
    assert CALL in text
    assert "BIAS" in text
    assert "stablehlo.add" not in text


def test_what_does_not_change_costs_no_product():
    def squares(x):
        return jnp.square(ops.dense(x, kernel, bias)).sum()

    x, kernel, bias = draw(0, 4, 6), draw(1, 6, 5), draw(2, 5)
    text = str(jax.make_jaxpr(jax.grad(squares))(x))
    assert text.count("= dense") == 2


def test_the_axes_of_a_batch_are_not_made_one_on_a_tpu():
    x, kernel, bias = jnp.ones((2, 3, 4)), jnp.ones((4, 5)), jnp.ones(5)

    def gradients(x, kernel, bias):
        return jax.grad(lambda *a: jnp.square(ops.dense(*a)).sum(), (0, 1, 2))(x, kernel, bias)

    text = jax.jit(gradients).trace(x, kernel, bias).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("dot_general") == 3
    assert "reshape" not in text
