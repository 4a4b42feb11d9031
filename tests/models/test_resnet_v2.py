import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.resnet_v2 import Block, Layer
from tests.models.rows import build, images

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))


def block(*layers: Layer, **fields):
    defaults = {
        "shortcut": "B",
        "early": False,
        "attention": "none",
        "activation": "relu",
        "dropout_rate": 0.0,
        "drop_path_rate": 0.0,
        "sync": nn.WHOLE_BATCH,
        "dtype": "float32",
    }
    return Block(layers, **{**defaults, **fields})


def run(layer: Block, x=X) -> tuple[np.ndarray, dict]:
    """The output without the branch, and the parameters."""
    variables = layer.init(jax.random.key(0), x, train=False)
    last = f"conv{len(layer.layers) - 1}"
    variables["params"][last]["kernel"] *= 0
    return np.asarray(layer.apply(variables, x, train=False)), variables["params"]


# A norm at its start only divides, by this.
DEVIATION = np.sqrt(1 + 1e-5)


def test_a_block_of_the_same_shape_adds_to_the_map_itself():
    y, params = run(block(Layer(4, 3), Layer(4, 3)))
    assert set(params) == {"norm0", "conv0", "norm1", "conv1"}
    np.testing.assert_array_equal(y, X)


def test_the_first_block_of_a_cifar_network_adds_to_the_activated_map():
    y, _ = run(block(Layer(4, 3), Layer(4, 3), early=True))
    np.testing.assert_allclose(y, np.maximum(X, 0) / DEVIATION, rtol=1e-6, atol=1e-6)


def test_where_the_shape_changes_the_paths_share_the_first_activation():
    y, params = run(block(Layer(8, 3, 2), Layer(8, 3)))
    kernel = np.asarray(params["shortcut_conv"]["kernel"])[0, 0]
    expected = np.maximum(X, 0)[:, ::2, ::2] / DEVIATION @ kernel
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_shortcut_a_passes_the_map_on():
    y, params = run(block(Layer(8, 3, 2), Layer(8, 3), shortcut="A"))
    assert "shortcut_conv" not in params
    expected = np.zeros((2, 3, 3, 8))
    expected[..., 2:6] = X[:, ::2, ::2]
    np.testing.assert_array_equal(y, expected)


def test_the_branch_is_norm_activation_convolution():
    layer = block(Layer(4, 1), Layer(4, 1), activation="silu")
    variables = layer.init(jax.random.key(0), X, train=False)
    y = np.asarray(X)
    for index in range(2):
        y = y / DEVIATION
        y = y / (1 + np.exp(-y))
        y = y @ np.asarray(variables["params"][f"conv{index}"]["kernel"])[0, 0]
    np.testing.assert_allclose(layer.apply(variables, X, train=False), X + y, rtol=1e-4, atol=1e-5)


def test_dropout_is_of_the_branch_before_its_second_convolution():
    layer = block(Layer(4, 3), Layer(4, 1), dropout_rate=0.5)
    variables = layer.init(jax.random.key(0), X, train=False)
    variables["params"]["conv1"]["kernel"] = jnp.eye(4).reshape(1, 1, 4, 4)
    y, _ = layer.apply(
        variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
    )
    plain = block(Layer(4, 3), Layer(4, 1))
    whole, _ = plain.apply(variables, X, train=True, mutable=["batch_stats"])
    branch, whole = np.asarray(y - X), np.asarray(whole - X)
    dropped = (np.abs(branch) < 1e-6) & (whole > 1e-3)
    assert 0.3 < dropped.sum() / (whole > 1e-3).sum() < 0.7
    kept = np.where(dropped, 0, 2 * whole)
    np.testing.assert_allclose(branch, kept, atol=2e-3)


def test_attention_weighs_the_branch():
    _, params = run(block(Layer(4, 3), Layer(4, 3), attention="eca"))
    assert params["attention"]["conv"]["kernel"].shape == (3, 1, 1)


def strides(**fields):
    body = models.backbone("resnet50_v2", depths=(1, 1), widths=(8, 16), **fields)
    x = jnp.ones((1, 32, 32, 3))
    features, variables = jax.eval_shape(
        lambda key: body.init_with_output(
            {"params": key}, x, capture_intermediates=True, mutable=True
        ),
        jax.random.key(0),
    )
    layers = variables["intermediates"]["stage1_block0"]
    sizes = [layers[f"conv{i}"]["__call__"][0].shape[1] for i in range(3)]
    return sizes, {stride: m.shape[1:] for stride, m in features.maps.items()}


def test_a_bottleneck_has_its_stride_on_the_second_or_first_convolution():
    maps = {2: (16, 16, 64), 4: (8, 8, 32), 8: (4, 4, 64)}
    assert strides() == ([8, 4, 4], maps)
    assert strides(block="bottleneck_v1") == ([4, 4, 4], maps)
    assert models.backbone("resnet164_v2_cifar").block == "bottleneck_v1"


def test_the_last_map_is_normalised_and_activated():
    x = images("resnet_v2_test", 2)
    body = models.backbone("resnet_v2_test")
    features, _ = jax.jit(body.init_with_output)(jax.random.key(0), x)
    assert np.min(features.maps[1]) < 0
    assert np.min(features.maps[2]) == 0
    np.testing.assert_allclose(
        features.pooled, np.mean(features.maps[2], (1, 2)), rtol=1e-5, atol=1e-6
    )


def test_wide_networks():
    body = models.backbone("wrn_28_10_cifar")
    assert (body.widths, body.stem_width) == ((160, 320, 640), 16)
    # Two convolutions a block, three shortcuts and the first.
    assert 2 * sum(body.depths) + 3 + 1 == 28


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": "deep"}, "unknown stem 'deep'"),
        ({"block": "basics"}, "unknown block"),
        ({"shortcut": "D"}, "unknown shortcut"),
        ({"attention": "se2"}, "unknown attention"),
        ({"depths": (1,)}, "different numbers of stages"),
    ],
)
def test_fields_that_make_no_network(fields, message):
    with pytest.raises(UserError, match=message):
        build("resnet_v2_test", **fields)
