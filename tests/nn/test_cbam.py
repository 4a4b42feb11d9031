import jax
import jax.numpy as jnp
import numpy as np

from cnn import nn

X = jax.random.normal(jax.random.key(0), (2, 5, 4, 32))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow(x, params, mean, var):
    """The paper's equations 2 and 3 pixel by pixel, with a norm before the second gate."""
    reduce, expand = (
        np.asarray(params[name]["kernel"]) for name in ("channel_reduce", "channel_expand")
    )
    hidden = [np.maximum(pooled @ reduce, 0) @ expand for pooled in (x.mean((1, 2)), x.max((1, 2)))]
    x = x * sigmoid(hidden[0] + hidden[1])[:, None, None]
    pooled = np.pad(np.stack([x.mean(-1), x.max(-1)], -1), ((0, 0), (3, 3), (3, 3), (0, 0)))
    kernel = np.asarray(params["spatial_conv"]["kernel"])[..., 0]
    y = np.empty(x.shape[:3])
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = pooled[:, row : row + 7, column : column + 7]
            y[:, row, column] = (window * kernel).sum((1, 2, 3))
    scale, bias = (float(params["spatial_norm"][name][0]) for name in ("scale", "bias"))
    y = (y - (y.mean() if mean is None else mean)) / np.sqrt(
        (y.var() if var is None else var) + 1e-5
    )
    return x * sigmoid(y * scale + bias)[..., None]


def make():
    layer = nn.ConvolutionalBlockAttention()
    variables = layer.init(jax.random.key(1), X)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "channel_reduce": {"kernel": (32, 2)},
        "channel_expand": {"kernel": (2, 32)},
        "spatial_conv": {"kernel": (7, 7, 2, 1)},
        "spatial_norm": {"scale": (1,), "bias": (1,)},
    }
    params = {
        **variables["params"],
        "spatial_norm": {"scale": jnp.full(1, 0.7), "bias": jnp.full(1, 0.3)},
    }
    stats = {"spatial_norm": {"mean": jnp.full(1, 0.2), "var": jnp.full(1, 1.7)}}
    return layer, {"params": params, "batch_stats": stats}


def test_channels_then_pixels_are_weighted():
    layer, variables = make()
    expected = slow(np.asarray(X), variables["params"], 0.2, 1.7)
    np.testing.assert_allclose(layer.apply(variables, X), expected, rtol=1e-4, atol=1e-5)


def test_in_training_the_pixels_gate_is_normalised_by_the_batch():
    layer, variables = make()
    y, state = layer.apply(variables, X, train=True, mutable=["batch_stats"])
    expected = slow(np.asarray(X), variables["params"], None, None)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert state["batch_stats"]["spatial_norm"]["mean"][0] != 0.2


def test_few_channels_have_one_unit_between_the_layers():
    variables = nn.ConvolutionalBlockAttention().init(jax.random.key(1), X[..., :8])
    assert variables["params"]["channel_reduce"]["kernel"].shape == (8, 1)
