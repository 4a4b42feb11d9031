import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.models.mobilenet import Block, Head, Row
from cnn.nn import Features, Style
from tests.models.rows import build, images

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 8))
STYLE = Style("hard_swish", "se", 0.99, 1e-3, nn.Sync(), "float32")


def run(row: Row, x: jax.Array = X) -> tuple[jax.Array, dict]:
    """The block's output and its parameters' shapes by layer."""
    block = Block(row, STYLE)
    y, variables = jax.jit(lambda: block.init_with_output(jax.random.key(0), x, train=False))()
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    return y, {layer: leaves.get("kernel") for layer, leaves in shapes.items()}


def test_a_block_expands_filters_and_projects():
    y, kernels = run(Row(16, 2, 6, 5, True))
    assert y.shape == (2, 3, 3, 16)
    assert kernels == {
        "expand_conv": (1, 1, 8, 48),
        "expand_norm": None,
        "depthwise_conv": (5, 5, 1, 48),
        "depthwise_norm": None,
        "squeeze": None,
        "project_conv": (1, 1, 48, 16),
        "project_norm": None,
    }
    _, kernels = run(Row(16))
    assert set(kernels) == {"depthwise_conv", "depthwise_norm", "project_conv", "project_norm"}


@pytest.mark.parametrize(
    ("row", "residual"),
    [
        (Row(8), True),
        (Row(8, residual=False), False),
        (Row(8, stride=2), False),
        (Row(16), False),
    ],
)
def test_the_input_is_added_where_the_shape_stays(row, residual):
    def run(x):
        block = Block(row, STYLE)
        variables = block.init(jax.random.key(0), x, train=False)
        # The branch is nothing but its last norm's bias, which is negative.
        zeros = jax.tree.map(jnp.zeros_like, variables)
        zeros["params"]["project_norm"]["bias"] -= 1
        return block.apply(zeros, x, train=False)

    y = np.asarray(jax.jit(run)(X))
    # v1, which adds nothing, has an activation after the branch: hard-swish of -1.
    expected = -1 + np.asarray(X) if residual else (-1 if row.residual else -1 / 3)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-5, atol=1e-6)


def test_a_row_may_have_its_own_activation():
    own, _ = run(Row(16, expansion=2, activation="relu"))
    network, _ = run(Row(16, expansion=2))
    assert not np.allclose(own, network, atol=1e-2)


def widths(name, multiplier):
    """Channels of the stem, of the first block's output and of the last convolution."""
    body = models.backbone(name, width_multiplier=multiplier)
    x = jnp.ones((1, 64, 64, 3))
    params = jax.eval_shape(lambda key: body.init(key, x), jax.random.key(0))["params"]
    layers = (params["stem_conv"], params["stage0_block0"]["project_conv"], params["last_conv"])
    return tuple(layer["kernel"].shape[-1] for layer in layers)


def test_multiplied_widths_are_multiples_of_eight_and_not_a_tenth_too_few():
    assert widths("mobilenet_v2", 0.35) == (16, 8, 1280)
    assert widths("mobilenet_v2", 1.4) == (48, 24, 1792)
    assert widths("mobilenet_v3_large", 0.75) == (16, 16, 720)


def test_maps_are_the_last_at_each_stride():
    body = models.backbone("mobilenet_v3_large")
    x = jnp.ones((1, 64, 64, 3))
    maps = jax.eval_shape(lambda key: body.init_with_output(key, x)[0], jax.random.key(0)).maps
    assert {stride: m.shape[1:] for stride, m in maps.items()} == {
        2: (32, 32, 16),
        4: (16, 16, 24),
        8: (8, 8, 40),
        16: (4, 4, 112),
        32: (2, 2, 960),
    }


def test_batch_statistics_move_by_the_papers_momentum():
    body = models.backbone("mobilenet_test")
    x = images("mobilenet_test") + 3

    def run():
        variables = body.init(jax.random.key(0), x)
        _, state = body.apply(variables, x, train=True, mutable=["batch_stats"])
        stem = variables["params"]["stem_conv"]["kernel"]
        return state["batch_stats"]["stem_norm"]["mean"], stem

    mean, kernel = jax.jit(run)()
    convolved = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(mean, 0.01 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


def test_the_hidden_layer_is_a_field_of_the_head():
    features = Features({}, jnp.ones((1, 4)))
    params = Head(5, hidden_size=0).init(jax.random.key(0), features)["params"]
    assert set(params) == {"logits"}
    _, variables = build("mobilenet_test", hidden_size=24)
    assert variables["params"]["head"]["hidden"]["kernel"].shape == (16, 24)
    assert models.classifier("mobilenet_v3_small").head.hidden_size == 1024
    assert models.classifier("mobilenet_v3_large", hidden_size=7).head.hidden_size == 7


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("se", {"reduce", "expand"}),
        ("eca", {"conv"}),
        ("cbam", {"channel_reduce", "channel_expand", "spatial_conv", "spatial_norm"}),
    ],
)
def test_attention_is_in_the_rows_that_squeeze(kind, layers):
    _, variables = build("mobilenet_test", attention=kind)
    blocks = {key: value for key, value in variables["params"]["backbone"].items() if "bl" in key}
    found = {key: set(value["squeeze"]) for key, value in blocks.items() if "squeeze" in value}
    assert found == {"stage0_block0": layers, "stage1_block1": layers}


def test_without_attention_nothing_is_squeezed():
    _, variables = build("mobilenet_test", attention="none")
    assert "squeeze" not in str(jax.tree.map(jnp.shape, variables))
