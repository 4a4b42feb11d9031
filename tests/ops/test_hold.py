import jax
import jax.numpy as jnp
import numpy as np

from cnn import ops

X = jnp.arange(6.0).reshape(2, 3)


def test_values_and_derivatives_are_those_without():
    def f(x):
        kept = ops.hold({"a": jnp.sin(x), "b": x})
        return jnp.sum(kept["a"] * kept["b"] ** 2)

    def plain(x):
        return jnp.sum(jnp.sin(x) * x**2)

    for transform in (lambda g: g, jax.grad, jax.jit, jax.hessian):
        np.testing.assert_allclose(transform(f)(X), transform(plain)(X), rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(lambda x: ops.hold([x])[0])(X), X)
    assert ops.hold(()) == ()


def test_a_barrier_on_cpus_only():
    traced = jax.jit(lambda x: ops.hold(x) + 1).trace(X)
    assert "optimization_barrier" in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("tpu", "cuda"):
        assert "optimization_barrier" not in traced.lower(lowering_platforms=(platform,)).as_text()
    with ops.stock():
        text = jax.jit(lambda x: ops.hold(x) + 2).lower(X).as_text()
    assert "optimization_barrier" not in text
