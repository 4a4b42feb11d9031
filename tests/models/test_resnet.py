import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.resnet import Block, Layer, dilated
from tests.models.rows import build, evaluate, images

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
    assert outputs(block="bottleneck_v1") == [(4, 4, 128), (4, 4, 128), (4, 4, 512)]


def test_the_width_of_a_group_scales_with_the_stage():
    assert [shape[-1] for shape in outputs(groups=32, base_width=4)] == [256, 256, 512]
    assert [shape[-1] for shape in outputs(base_width=128)] == [256, 256, 512]


def block(shortcut, **fields):
    defaults = {
        "layers": (Layer(8, 3, 2), Layer(8, 3)),
        "shortcut": shortcut,
        "attention": "none",
        "activation": "relu",
        "zero_init_last": True,
        "drop_path_rate": 0.0,
        "sync": nn.WHOLE_BATCH,
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


@pytest.mark.parametrize("size", [5, 6])
def test_shortcut_d_takes_the_mean_of_the_pixels_that_there_are(size):
    x = X[:, :size, :4]
    y, variables = block("D").init_with_output(jax.random.key(0), x, train=False)
    padded = np.full((2, 6, 4, 4), np.nan)
    padded[:, :size] = x
    means = np.nanmean(padded.reshape(2, 3, 2, 2, 2, 4), axis=(2, 4))
    kernel = np.asarray(variables["params"]["shortcut_conv"]["kernel"])[0, 0]
    expected = np.maximum(means @ kernel / np.sqrt(1 + 1e-5), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_shortcut_d_without_a_stride_takes_the_pixels_themselves():
    layers = (Layer(8, 3), Layer(8, 3))
    y, variables = block("D", layers=layers).init_with_output(jax.random.key(0), X, train=False)
    b = block("B", layers=layers).apply(variables, X, train=False)
    np.testing.assert_array_equal(y, b)


def test_shortcut_d_keeps_its_pool_where_a_dilation_is_instead_of_a_stride():
    layers, _ = dilated((Layer(8, 3, 2), Layer(8, 3)), 1)
    y, variables = block("D", layers=layers).init_with_output(jax.random.key(0), X, train=False)
    padded = np.pad(X, ((0, 0), (0, 1), (0, 1), (0, 0)))
    means = sum(padded[:, i : i + 6, j : j + 6] for i in (0, 1) for j in (0, 1)) / 4
    kernel = np.asarray(variables["params"]["shortcut_conv"]["kernel"])[0, 0]
    expected = np.maximum(means @ kernel / np.sqrt(1 + 1e-5), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_attention_weighs_the_branch_and_not_the_shortcut():
    fields = {"layers": (Layer(4, 3), Layer(4, 3)), "zero_init_last": False, "attention": "se"}
    layer = block("B", **fields)
    variables = layer.init(jax.random.key(0), X, train=False)
    assert variables["params"]["attention"]["reduce"]["kernel"].shape == (4, 8)
    closed = jax.tree.map(jnp.zeros_like, variables["params"]["attention"])
    closed["expand"]["bias"] -= 100
    variables["params"]["attention"] = closed
    np.testing.assert_allclose(
        layer.apply(variables, X, train=False), np.maximum(X, 0), rtol=1e-6, atol=1e-6
    )


def test_the_activation_is_a_field():
    fields = {"layers": (Layer(4, 3), Layer(4, 3)), "activation": "silu"}
    y, _ = block("B", **fields).init_with_output(jax.random.key(0), X, train=False)
    np.testing.assert_allclose(y, X / (1 + np.exp(-np.asarray(X))), rtol=1e-5, atol=1e-6)
    x = images("resnet_test", 1)
    body = models.backbone("resnet_test", activation="tanh")
    features, _ = jax.jit(body.init_with_output)(jax.random.key(0), x)
    assert np.all(np.abs(np.asarray(features.maps[1])) <= 1)
    assert np.any(np.asarray(features.maps[1]) < 0)


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "bottleneck_v1"])
@pytest.mark.parametrize(("output_stride", "shortcut"), [(1, "A"), (1, "B"), (2, "B")])
def test_a_dilated_network_is_the_strided_one_at_all_pixels(kind, output_stride, shortcut):
    """Pixels of the strided network's maps are every n-th of the dilated one's."""
    fields = {"block": kind, "depths": (1, 2, 2), "widths": (4, 6, 8), "shortcut": shortcut}
    x = images("resnet_test", 2)[:, :16, :24]
    _, variables = build("resnet_test", x, **fields)
    part = {collection: tree["backbone"] for collection, tree in variables.items()}
    strided = evaluate(models.backbone("resnet_test", **fields), part, x)
    body = models.backbone("resnet_test", output_stride=output_stride, **fields)
    dense = evaluate(body, part, x)
    assert strided.auxiliary == ()
    assert max(dense.maps) == output_stride
    assert dense.maps[output_stride].shape[1:3] == (16 // output_stride, 24 // output_stride)
    for ours, stride in ((dense.maps[output_stride], 4), (dense.auxiliary[0], 2)):
        step = stride // output_stride
        np.testing.assert_allclose(
            ours[:, ::step, ::step], strided.maps[stride], rtol=1e-4, atol=1e-4
        )


def test_the_first_block_of_a_dilated_stage_has_the_dilation_of_the_stage_before():
    layers = (Layer(8, 1), Layer(8, 3, 2), Layer(32, 1))
    first, dilation = dilated(layers, 2)
    assert [layer.dilation for layer in first] == [2, 2, 4]
    assert {layer.stride for layer in first} == {1}
    second, dilation = dilated((Layer(8, 1), Layer(8, 3), Layer(32, 1)), dilation)
    assert [layer.dilation for layer in second] == [4, 4, 4]
    assert dilation == 4


def test_dilated_maps_of_an_imagenet_network():
    def shapes(output_stride):
        body = models.backbone("resnet50", depths=(1, 1, 1, 1), output_stride=output_stride)
        key = jax.random.key(0)
        features = jax.eval_shape(
            lambda k: body.init_with_output(k, jnp.ones((1, 64, 64, 3)))[0], key
        )
        maps = {stride: m.shape[1:] for stride, m in features.maps.items()}
        return maps, [m.shape[1:] for m in features.auxiliary]

    first = {2: (32, 32, 64), 4: (16, 16, 256)}
    assert shapes(8) == ({**first, 8: (8, 8, 2048)}, [(8, 8, 1024)])
    assert shapes(16) == ({**first, 8: (8, 8, 512), 16: (4, 4, 2048)}, [(4, 4, 1024)])
    assert shapes(32) == (
        {**first, 8: (8, 8, 512), 16: (4, 4, 1024), 32: (2, 2, 2048)},
        [],
    )


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
    deep = models.backbone("resnet18", depths=(1, 1), widths=(8, 16), stem="deep")
    features, variables = jax.eval_shape(deep.init_with_output, jax.random.key(0), X[..., :3])
    assert jax.tree.map(jnp.shape, features.maps) == jax.tree.map(jnp.shape, maps)
    kernels = [variables["params"][f"stem_conv{i}"]["kernel"].shape for i in ("", 1, 2)]
    assert kernels == [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 8)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": "imagnet"}, "unknown stem 'imagnet'; did you mean 'imagenet'"),
        ({"block": "basics"}, "unknown block"),
        ({"shortcut": "C"}, "unknown shortcut"),
        ({"block": "bottleneck_v2"}, "unknown block 'bottleneck_v2'; did you mean 'bottleneck"),
        ({"attention": "sea"}, "unknown attention 'sea'"),
        ({"activation": "rely"}, "unknown activation 'rely'"),
        ({"output_stride": 12}, "output_stride is 12: it must be a power of two and at least 1"),
        ({"stem": "deep", "output_stride": 2}, "at least 4, the stem's stride"),
        ({"groups": 2}, "groups and base_width are of the bottleneck"),
        ({"depths": (1,)}, "different numbers of stages"),
    ],
)
def test_fields_that_make_no_network(fields, message):
    with pytest.raises(UserError, match=message):
        build("resnet_test", **fields)
