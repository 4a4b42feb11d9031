import jax
import jax.numpy as jnp
import numpy as np

from cnn import nn


def test_layer_norm_is_its_formula():
    # A deviation of epsilon's root, so that 1e-5 would show, and a mean so large that the fast
    # variance would.
    x = np.random.default_rng(0).normal(1, 1e-3, (3, 5, 16)).astype(np.float32)
    y, _ = nn.LayerNorm().init_with_output(jax.random.key(0), jnp.asarray(x))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, expected, atol=2e-3)


def plain(x, scale, bias):
    """The definition, for JAX to differentiate."""
    mean = jnp.mean(x, -1, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-6) * scale[None, None] + bias[None, None]


def ours(x, scale, bias):
    norm = nn.LayerNorm(dtype="float64")
    return norm.apply({"params": {"scale": scale, "bias": bias}}, x)


def test_every_derivative_is_that_of_the_definition():
    """Forward, reverse, and reverse over reverse."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        args = [jnp.asarray(rng.normal(1, 2, shape)) for shape in ((2, 3, 5), 5, 5)]
        tangents = jax.tree.map(jnp.cos, args)
        weights = jnp.asarray(rng.normal(size=(2, 3, 5)))
        every = (0, 1, 2)

        def loss(f):
            return lambda *args: jnp.vdot(weights, jnp.sin(f(*args)))

        def along(f):
            def total(*args):
                gradients = jax.grad(loss(f), every)(*args)
                return sum(jnp.vdot(g, t) for g, t in zip(gradients, tangents, strict=True))

            return total

        for derivative in (
            lambda f: [jax.jvp(f, args, tangents)[1]],
            lambda f: jax.grad(loss(f), every)(*args),
            lambda f: jax.grad(along(f), every)(*args),
        ):
            for got, expected in zip(derivative(ours), derivative(plain), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
