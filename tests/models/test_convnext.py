import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.models.convnext import Block, Head
from cnn.nn import Features
from tests.models.rows import build, evaluate, images


def test_a_branch_starts_as_nearly_nothing():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    block = Block(
        layer_scale=1e-6, attention="none", drop_path_rate=0.0, axis_name=None, dtype="float32"
    )
    y, variables = jax.jit(lambda: block.init_with_output(jax.random.key(0), x, train=False))()
    np.testing.assert_array_equal(variables["params"]["layer_scale"], np.full(4, 1e-6, np.float32))
    np.testing.assert_allclose(y, x, atol=1e-5)
    variables["params"]["layer_scale"] = jnp.ones(4)
    assert not np.allclose(block.apply(variables, x, train=False), x, atol=1e-3)


def test_small_images_need_a_small_patch():
    x = jnp.ones((1, 28, 28, 1))
    with pytest.raises(UserError, match="images too small"):
        jax.eval_shape(models.backbone("convnext_tiny").init, jax.random.key(0), x)
    body = models.backbone("convnext_tiny", patch_size=2)
    features, _ = jax.eval_shape(body.init_with_output, jax.random.key(0), x)
    assert {stride: m.shape[1] for stride, m in features.maps.items()} == {2: 14, 4: 7, 8: 3, 16: 1}


def test_the_head_normalises_the_pooled_features():
    model, variables = build("convnext_test")
    x = images("convnext_test")
    params = variables["params"]
    body = models.backbone("convnext_test")
    pooled = np.asarray(evaluate(body, {"params": params["backbone"]}, x).pooled)
    deviation = np.sqrt(pooled.var(-1, keepdims=True) + 1e-6)
    norm, dense = (jax.tree.map(np.asarray, params["head"][name]) for name in ("norm", "logits"))
    y = (pooled - pooled.mean(-1, keepdims=True)) / deviation * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(
        evaluate(model, variables, x),
        np.asarray(y) @ dense["kernel"] + np.asarray(dense["bias"]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_initialisation():
    head = Head(num_classes=200)
    params = head.init(jax.random.key(0), Features({}, jnp.ones((1, 100))))["params"]
    np.testing.assert_allclose(np.std(params["logits"]["kernel"]), 0.02, rtol=0.03)


def test_attention_is_before_the_layer_scale():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    block = Block(
        layer_scale=1.0, attention="se", drop_path_rate=0.0, axis_name=None, dtype="float32"
    )

    def run(bias):
        variables = block.init(jax.random.key(0), x, train=False)
        gates = jax.tree.map(jnp.zeros_like, variables["params"]["attention"])
        gates["expand"]["bias"] += bias
        params = {**variables["params"], "attention": gates}
        return block.apply({"params": params}, x, train=False) - x

    half, whole, none = (np.asarray(jax.jit(run)(bias)) for bias in (0.0, 100.0, -100.0))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(none, 0, atol=1e-6)


def test_the_kind_of_attention_is_a_field():
    _, variables = build("convnext_test", attention="cbam")
    for stage in range(2):
        part = variables["batch_stats"]["backbone"][f"stage{stage}_block0"]["attention"]
        assert set(part) == {"spatial_norm"}
