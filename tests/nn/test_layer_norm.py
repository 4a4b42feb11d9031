import jax
import numpy as np

from cnn import nn


def test_layer_norm_is_its_formula():
    # A deviation of epsilon's root, so that 1e-5 would show, and a mean so large that the fast
    # variance would.
    x = np.random.default_rng(0).normal(1, 1e-3, (3, 5, 16)).astype(np.float32)
    y, _ = nn.LayerNorm().init_with_output(jax.random.key(0), x)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, expected, atol=2e-3)
