import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.convnext import Block, Head, ResponseNorm
from cnn.nn import Features
from tests.models.rows import build, evaluate, images


def test_a_branch_starts_as_nearly_nothing():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    block = Block(
        layer_scale=1e-6,
        response_norm=False,
        activation="gelu",
        attention="none",
        drop_path_rate=0.0,
        sync=nn.WHOLE_BATCH,
        dtype="float32",
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


def test_response_norm_is_its_formula():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    scale, bias = rng.standard_normal((2, 5)).astype(np.float32)
    expected = np.empty_like(x)
    for image, out in zip(x, expected, strict=True):
        norms = [np.sqrt((image[..., c] ** 2).sum()) for c in range(5)]
        for c in range(5):
            y = image[..., c] * norms[c] / (np.mean(norms) + 1e-6)
            out[..., c] = scale[c] * y + bias[c] + image[..., c]
    y = ResponseNorm("float32").apply({"params": {"scale": scale, "bias": bias}}, jnp.asarray(x))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_response_norm_starts_as_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    y, _ = ResponseNorm("float32").init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(y, x)


def test_a_channel_that_is_zero_everywhere_has_gradients():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4)).at[..., 1].set(0.0)
    params = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    grads = jax.grad(lambda x: jnp.sum(ResponseNorm("float32").apply({"params": params}, x) ** 2))
    assert np.isfinite(grads(x)).all()


def test_an_isotropic_network_keeps_one_resolution():
    body = models.backbone("convnext_iso_small")
    features, variables = jax.eval_shape(
        body.init_with_output, jax.random.key(0), jnp.ones((1, 64, 96, 3))
    )
    assert jax.tree.map(jnp.shape, features.maps) == {16: (1, 4, 6, 384)}
    assert not {"stem_norm", "stage0_norm"} & variables["params"].keys()
    assert "layer_scale" not in variables["params"]["stage0_block17"]


def test_the_activation_is_a_field():
    model, variables = build("convnextv2_test", activation="relu")
    gelu, _ = build("convnextv2_test")
    x = images("convnextv2_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(gelu, variables, x), rtol=1e-3)
    with pytest.raises(UserError, match="unknown activation 'gelo'"):
        build("convnextv2_test", activation="gelo")


def test_attention_is_before_the_layer_scale():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    block = Block(
        layer_scale=1.0,
        response_norm=False,
        activation="gelu",
        attention="se",
        drop_path_rate=0.0,
        sync=nn.WHOLE_BATCH,
        dtype="float32",
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
