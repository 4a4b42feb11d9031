import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from tests.ops.test_against_stock import check, draw


def exact(x):
    return jax.nn.gelu(x, approximate=False)


def test_it_is_jaxs_exact_one():
    x = jnp.linspace(-12, 12, 2001)
    np.testing.assert_allclose(ops.gelu(x), exact(x), rtol=1e-6, atol=2e-6)
    slope, expected = (jax.vmap(jax.grad(f))(x) for f in (ops.gelu, exact))
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-6)
    curvature, expected = (jax.vmap(jax.grad(jax.grad(f)))(x) for f in (ops.gelu, exact))
    np.testing.assert_allclose(curvature, expected, rtol=1e-5, atol=1e-6)


def test_it_is_stock_where_that_is_asked_for():
    check(ops.gelu, draw(0, 4, 6))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_on_accelerators_it_is_jaxs_own(platform):
    x = draw(0, 4, 6)
    step = jax.jit(jax.value_and_grad(lambda x: ops.gelu(x).sum()))
    text = step.trace(x).lower(lowering_platforms=(platform,)).as_text()
    assert "optimization_barrier" not in text
    assert "erfc" in text
    assert "chlo.erf " not in text


def test_low_precision_stays_low():
    x = draw(0, 64).astype("bfloat16")
    y = ops.gelu(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype("float32"), exact(x.astype("float32")), atol=0.02)
