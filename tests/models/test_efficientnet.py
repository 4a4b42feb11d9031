import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.efficientnet import Block, Head, Stage
from cnn.nn import Features, Style
from tests.models.rows import build, evaluate, images

X = jax.random.normal(jax.random.key(0), (2, 6, 6, 8))
STYLE = Style("silu", "se", 0.9, 1e-3, nn.Sync(), "float32")


def kernels(stage: Stage) -> dict[str, tuple[int, ...]]:
    block = Block(stage, "symmetric", 0.0, STYLE)
    y, variables = jax.eval_shape(
        lambda key: block.init_with_output(key, X, train=False), jax.random.key(0)
    )
    assert y.shape == (2, 6 // stage.stride, 6 // stage.stride, stage.features)
    params = variables["params"]
    squeeze = params.pop("squeeze", {})
    layers = {**params, **{f"squeeze_{key}": layer for key, layer in squeeze.items()}}
    return {key: layer["kernel"].shape for key, layer in layers.items() if "norm" not in key}


def test_the_kinds_of_blocks():
    separable = {"depthwise_conv": (3, 3, 1, 8), "squeeze_reduce": (8, 2), "squeeze_expand": (2, 8)}
    assert kernels(Stage(16, 1)) == {**separable, "project_conv": (1, 1, 8, 16)}
    assert kernels(Stage(16, 1, 2, 6, 5)) == {
        "expand_conv": (1, 1, 8, 48),
        "depthwise_conv": (5, 5, 1, 48),
        # A quarter of the input's channels.
        "squeeze_reduce": (48, 2),
        "squeeze_expand": (2, 48),
        "project_conv": (1, 1, 48, 16),
    }
    assert kernels(Stage(16, 1, 2, 4, fused=True)) == {
        "fused_conv": (3, 3, 8, 32),
        "project_conv": (1, 1, 32, 16),
    }
    assert kernels(Stage(8, 1, fused=True)) == {"fused_conv": (3, 3, 8, 8)}


@pytest.mark.parametrize(
    ("stage", "last", "residual"),
    [
        (Stage(8, 1, 1, 2), "project_norm", True),
        (Stage(16, 1, 1, 2), "project_norm", False),
        (Stage(8, 1, 2, 2), "project_norm", False),
        (Stage(8, 1, 1, 2, fused=True), "project_norm", True),
        (Stage(8, 1, 1, 1, fused=True), "fused_norm", True),
    ],
)
def test_the_input_is_added_where_the_shape_stays(stage, last, residual):
    block = Block(stage, "symmetric", 0.0, STYLE)

    def run(x):
        variables = block.init(jax.random.key(0), x, train=False)
        # The branch is nothing but its last norm's bias.
        zeros = jax.tree.map(jnp.zeros_like, variables)
        zeros["params"][last]["bias"] += 1
        return block.apply(zeros, x, train=False)

    y = np.asarray(jax.jit(run)(X))
    # A fused block that does not expand ends with its activation.
    branch = jax.nn.silu(1.0) if last == "fused_norm" else 1.0
    expected = branch + (np.asarray(X) if residual else 0)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-5, atol=1e-6)


def test_same_padding_is_one_row_less_before():
    """TensorFlow pads an even image at stride 2 below and on the right only."""
    model, variables = build("efficientnet_test")
    same, _ = build("efficientnet_test", padding="same")
    x = images("efficientnet_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(same, variables, x), rtol=1e-3)
    odd = x[:, :25, :25]
    np.testing.assert_allclose(
        evaluate(same, variables, odd), evaluate(model, variables, odd), rtol=1e-5
    )
    with pytest.raises(UserError, match="unknown padding 'some'; did you mean 'same'"):
        build("efficientnet_test", padding="some")


def test_multipliers():
    """b1 has b0's widths and half as many blocks again; b2 has wider ones."""

    def blocks(name):
        body = models.backbone(name)
        params = jax.eval_shape(body.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))["params"]
        names = sorted(key for key in params if "block" in key)
        depths = [sum(key.startswith(f"stage{stage}_") for key in names) for stage in range(7)]
        widths = [params[f"stage{s}_block0"]["project_conv"]["kernel"].shape[-1] for s in range(7)]
        return depths, widths, params["last_conv"]["kernel"].shape[-1]

    assert blocks("efficientnet_b0")[0] == [1, 2, 2, 3, 3, 4, 1]
    assert blocks("efficientnet_b1") == (
        [2, 3, 3, 4, 4, 5, 2],
        [16, 24, 40, 80, 112, 192, 320],
        1280,
    )
    assert blocks("efficientnet_b2")[1:] == ([16, 24, 48, 88, 120, 208, 352], 1408)


def test_the_rate_of_dropping_a_block_rises_from_nothing():
    """To what one more block would have."""
    body = models.backbone("efficientnet_test", drop_path_rate=0.6)
    rates = []

    def record(call, args, keywords, context):
        if isinstance(context.module, Block):
            rates.append(context.module.drop_path_rate)
        return call(*args, **keywords)

    with linen.intercept_methods(record):
        jax.eval_shape(body.init, jax.random.key(0), images("efficientnet_test", 1))
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert models.backbone("efficientnet_b0").drop_path_rate == 0.2


def test_maps_are_the_last_at_each_stride():
    body = models.backbone("efficientnet_v2_s")
    x = jnp.ones((1, 64, 64, 3))
    maps = jax.eval_shape(lambda key: body.init_with_output(key, x)[0], jax.random.key(0)).maps
    assert {stride: m.shape[1:] for stride, m in maps.items()} == {
        2: (32, 32, 24),
        4: (16, 16, 48),
        8: (8, 8, 64),
        16: (4, 4, 160),
        32: (2, 2, 1280),
    }


def test_initialisation_of_the_head():
    params = Head(num_classes=100).init(jax.random.key(0), Features({}, jnp.ones((1, 200))))
    kernel = np.asarray(params["params"]["logits"]["kernel"])
    np.testing.assert_allclose([kernel.min(), kernel.max()], [-0.1, 0.1], rtol=0.01)
    assert [models.classifier(f"efficientnet_b{i}").head.dropout_rate for i in (0, 2, 7)] == [
        0.2,
        0.3,
        0.5,
    ]
