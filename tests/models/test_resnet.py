import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.models.resnet import Block, Layer
from tests.models.rows import build, images

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))


def outputs(**fields):
    """Shapes of all layers' outputs of a small bottleneck network."""
    body = models.backbone("resnet50", depths=(1, 1), widths=(64, 128), **fields)
    variables = jax.eval_shape(
        lambda key: body.init(
            {"params": key}, jnp.ones((1, 32, 32, 3)), capture_intermediates=True, mutable=True
        ),
        jax.random.key(0),
    )
    layers = variables["intermediates"]["stage1_block0"]
    return [layers[f"conv{i}"]["__call__"][0].shape[1:] for i in range(3)]


def test_v1_has_the_stride_on_the_first_convolution():
    assert outputs() == [(8, 8, 128), (4, 4, 128), (4, 4, 512)]
    assert outputs(version="v1") == [(4, 4, 128), (4, 4, 128), (4, 4, 512)]


def test_the_width_of_a_group_scales_with_the_stage():
    assert [shape[-1] for shape in outputs(groups=32, base_width=4)] == [256, 256, 512]
    assert [shape[-1] for shape in outputs(base_width=128)] == [256, 256, 512]


def block(shortcut, **fields):
    defaults = {
        "layers": (Layer(8, 3, 2), Layer(8, 3)),
        "shortcut": shortcut,
        "zero_init_last": True,
        "drop_path_rate": 0.0,
        "axis_name": None,
        "dtype": "float32",
    }
    return Block(**{**defaults, **fields})


def test_shortcut_a_takes_every_second_pixel_and_adds_channels_of_zeros():
    y, variables = block("A").init_with_output(jax.random.key(0), X, train=False)
    assert set(variables["params"]) == {"conv0", "norm0", "conv1", "norm1"}
    expected = np.zeros((2, 3, 3, 8))
    expected[..., 2:6] = np.maximum(X[:, ::2, ::2], 0)
    np.testing.assert_array_equal(y, expected)


def test_shortcut_b_is_a_convolution_only_where_the_shape_changes():
    _, variables = block("B").init_with_output(jax.random.key(0), X, train=False)
    assert variables["params"]["shortcut_conv"]["kernel"].shape == (1, 1, 4, 8)
    same = block("B", layers=(Layer(4, 3), Layer(4, 3)))
    y, variables = same.init_with_output(jax.random.key(0), X, train=False)
    assert "shortcut_conv" not in variables["params"]
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_zero_init_is_of_the_last_norm_of_each_block():
    x = images("resnet_test", 1)
    for zero in (True, False):
        model = models.backbone("resnet_test", zero_init_last=zero)
        params = model.init({"params": jax.random.key(0)}, x)["params"]
        for name in ("stage0_block0", "stage1_block0"):
            assert np.all(np.asarray(params[name]["norm1"]["scale"]) == (0 if zero else 1))
            assert np.all(np.asarray(params[name]["norm0"]["scale"]) == 1)


def test_stems():
    body = models.backbone("resnet18", depths=(1, 1), widths=(8, 16))
    maps = jax.eval_shape(lambda k: body.init_with_output(k, X[..., :3])[0], jax.random.key(0)).maps
    assert {stride: m.shape[1:] for stride, m in maps.items()} == {
        2: (3, 3, 8),
        4: (2, 2, 8),
        8: (1, 1, 16),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": "imagnet"}, "unknown stem 'imagnet'; did you mean 'imagenet'"),
        ({"block": "basics"}, "unknown block"),
        ({"shortcut": "C"}, "unknown shortcut"),
        ({"version": "v2"}, "unknown version"),
        ({"groups": 2}, "groups and base_width are of the bottleneck"),
        ({"depths": (1,)}, "different numbers of stages"),
    ],
)
def test_fields_that_make_no_network(fields, message):
    with pytest.raises(UserError, match=message):
        build("resnet_test", **fields)
