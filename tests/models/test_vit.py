import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, ops
from cnn.errors import UserError
from cnn.models.vit import Attention
from tests.models.rows import build, evaluate, images


def test_attention_is_its_formula():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6))
    layer = Attention(num_heads=3, dropout_rate=0.0, dtype="float32")
    variables = layer.init(jax.random.key(1), x, train=False)
    variables = jax.tree.map(lambda leaf: leaf * 40 + 0.1, variables)
    params = jax.tree.map(np.asarray, variables["params"])
    query, key, value = (
        np.asarray(x) @ params[n]["kernel"] + params[n]["bias"] for n in ("query", "key", "value")
    )
    parts = []
    for head in range(3):
        columns = slice(2 * head, 2 * head + 2)
        scores = query[..., columns] @ key[..., columns].transpose(0, 2, 1) / np.sqrt(2)
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        parts.append(weights @ value[..., columns])
    expected = np.concatenate(parts, -1) @ params["out"]["kernel"] + params["out"]["bias"]
    np.testing.assert_allclose(
        layer.apply(variables, x, train=False), expected, rtol=1e-4, atol=1e-4
    )


def test_positions_are_of_the_images_that_made_the_parameters():
    model, variables = build("vit_test", images("vit_test", 1)[:, :24])
    assert variables["params"]["backbone"]["position_embedding"].shape == (1, 3 * 4 + 1, 32)
    with pytest.raises(UserError, match=r"for 13 tokens and these images have 17.*position_grid"):
        evaluate(model, variables, images("vit_test"))


@pytest.mark.parametrize(
    ("pool", "position", "num_prefix"),
    [
        ("token", "learned", 1),
        ("distilled", "learned", 2),
        ("gap", "learned", 0),
        ("token", "learned_patches", 0),
    ],
)
def test_positions_of_another_grid_are_resampled(pool, position, num_prefix):
    """As if the resampled embedding were the parameter."""
    fields = {"pool": pool, "position": position}
    x = images("vit_test", 2)[:, :24]
    resampling, variables = build("vit_test", x, **fields, position_grid=(5, 2))
    params = variables["params"]["backbone"]
    known = params["position_embedding"]
    assert known.shape == (1, num_prefix + 5 * 2, 32)
    ours = evaluate(resampling, variables, x)
    plain, _ = build("vit_test", x, **fields)
    params["position_embedding"] = ops.resample_positions(
        known, (5, 2), (3, 4), num_prefix=num_prefix
    )
    np.testing.assert_allclose(ours, evaluate(plain, variables, x), rtol=1e-5, atol=1e-6)


def test_images_of_the_grid_itself_need_no_resampling():
    model, variables = build("vit_test", position_grid=(4, 4))
    plain, _ = build("vit_test")
    x = images("vit_test")
    np.testing.assert_array_equal(evaluate(model, variables, x), evaluate(plain, variables, x))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((4, 4, 4), r"position_grid is \(4, 4, 4\): it is the rows"),
        ((0, 4), r"position_grid is \(0, 4\): it is the rows"),
        ((3, 4), r"for 17 tokens and position_grid \(3, 4\) makes 13"),
    ],
)
def test_grids_that_the_embedding_is_not_for(grid, message):
    _, variables = build("vit_test")
    body = models.backbone("vit_test", position_grid=grid)
    with pytest.raises(UserError, match=message):
        evaluate(body, {"params": variables["params"]["backbone"]}, images("vit_test"))


@pytest.mark.parametrize("pool", ["gap", "token"])
def test_fixed_positions_are_those_of_an_embedding_of_the_patches(pool):
    fixed, variables = build("vit_test", pool=pool, position="sincos2d")
    assert "position_embedding" not in variables["params"]["backbone"]
    x = images("vit_test")
    ours = evaluate(fixed, variables, x)
    learned, _ = build("vit_test", pool=pool, position="learned_patches")
    table = ops.sincos2d_positions((4, 4), 32)
    variables["params"]["backbone"]["position_embedding"] = table
    np.testing.assert_allclose(ours, evaluate(learned, variables, x), rtol=1e-5, atol=1e-6)


def test_fixed_positions_are_for_images_of_any_size():
    model, variables = build("vit_test", pool="gap", position="sincos2d")
    assert evaluate(model, variables, images("vit_test")[:, :8, :24]).shape == (4, 5)


def test_layer_scale_multiplies_the_branches():
    """Scales of 1 are none, and of 0 leave the input of the block."""
    scaled, variables = build("vit_test", layer_scale=1e-4)
    plain, _ = build("vit_test")
    x = images("vit_test")
    blocks = [variables["params"]["backbone"][f"block{i}"] for i in range(2)]
    for block in blocks:
        block["attention_scale"] = block["mlp_scale"] = jnp.ones(32)
    ones = evaluate(scaled, variables, x)
    bare = jax.tree.map(jnp.asarray, variables)
    for i in range(2):
        block = bare["params"]["backbone"][f"block{i}"]
        del block["attention_scale"], block["mlp_scale"]
    np.testing.assert_allclose(ones, evaluate(plain, bare, x), rtol=1e-5, atol=1e-6)
    for block in blocks:
        block["attention_scale"] = block["mlp_scale"] = jnp.zeros(32)
    still = evaluate(scaled, variables, x)
    for block in blocks:
        block["attention"] = jax.tree.map(lambda leaf: 7 * leaf, block["attention"])
    np.testing.assert_array_equal(still, evaluate(scaled, variables, x))


def test_layer_scale_at_the_start():
    body = models.backbone("deit3_s_16", width=12, depth=1, num_heads=3)
    variables = jax.jit(body.init)(jax.random.key(0), jnp.ones((1, 16, 16, 3)))
    block = variables["params"]["block0"]
    for name in ("attention_scale", "mlp_scale"):
        np.testing.assert_array_equal(block[name], np.full(12, 1e-4, np.float32))


def test_a_distilled_network_has_the_mean_of_two_classifiers():
    model, variables = build("deit_test")
    x = images("deit_test")
    logits, sown = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["distillation"]))(
        variables, x
    )
    (of_class,), (of_teacher,) = (
        sown["distillation"]["head"][name] for name in ("class", "distillation")
    )
    assert not np.allclose(of_class, of_teacher, rtol=1e-2)
    np.testing.assert_allclose(logits, (of_class + of_teacher) / 2, rtol=1e-6)
    np.testing.assert_allclose(evaluate(model, variables, x), logits, rtol=1e-5, atol=1e-6)
    body = models.backbone("deit_test")
    features = evaluate(body, {"params": variables["params"]["backbone"]}, x)
    head = jax.tree.map(np.asarray, variables["params"]["head"])
    (token,) = features.auxiliary
    for vector, name, expected in (
        (features.pooled, "logits", of_class),
        (token[:, 0, 0], "distillation_logits", of_teacher),
    ):
        y = np.asarray(vector) @ head[name]["kernel"] + head[name]["bias"]
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_what_is_sown_is_no_variable():
    model, _ = build("deit_test")
    variables = jax.eval_shape(model.init, jax.random.key(0), images("deit_test", 1))
    assert variables.keys() == {"params"}


def test_the_activation_is_a_field():
    model, variables = build("vit_test", activation="relu")
    gelu, _ = build("vit_test")
    x = images("vit_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(gelu, variables, x), rtol=1e-3)


@pytest.mark.parametrize("size", [(4, 8), (33, 32), (32, 20)])
def test_images_are_whole_patches(size):
    with pytest.raises(
        UserError, match=f"{size[0]}x{size[1]} are no whole number of 8-pixel patches"
    ):
        models.backbone("vit_test").init(jax.random.key(0), jnp.ones((1, *size, 3)))


def test_gap_averages_the_patches():
    _, variables = build("vit_test", pool="gap")
    assert "class_token" not in variables["params"]["backbone"]
    body = models.backbone("vit_test", pool="gap")
    features = evaluate(body, {"params": variables["params"]["backbone"]}, images("vit_test"))
    np.testing.assert_allclose(features.pooled, features.maps[8].mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_the_map_keeps_the_places_of_the_patches():
    """Without attention and positions, a patch changes its own cell of the map only."""
    _, variables = build("vit_test")
    params = variables["params"]["backbone"]
    params["position_embedding"] *= 0
    for name in ("block0", "block1"):
        params[name]["attention"]["out"]["kernel"] *= 0
    x = images("vit_test", 1)
    other = x.at[:, 8:16, 16:24].add(1.0)
    body = models.backbone("vit_test")
    maps = [np.asarray(evaluate(body, {"params": params}, y).maps[8]) for y in (x, other)]
    changed = np.any(maps[0] != maps[1], axis=-1)[0]
    assert changed.tolist() == [[(i, j) == (1, 2) for j in range(4)] for i in range(4)]


def test_a_representation_layer_before_the_logits():
    _, variables = build("vit_test", representation_size=6)
    shapes = jax.tree.map(jnp.shape, variables["params"]["head"])
    assert shapes == {
        "hidden": {"bias": (6,), "kernel": (32, 6)},
        "logits": {"bias": (5,), "kernel": (6, 5)},
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pool": "mean"}, "unknown pool 'mean'"),
        ({"num_heads": 3}, "num_heads is 3.*divide 32"),
        ({"position": "learnt"}, "unknown position 'learnt'; did you mean 'learned'"),
        ({"position": "sincos2d", "width": 6}, "width is 6: position 'sincos2d' needs"),
        ({"activation": "gelo"}, "unknown activation 'gelo'"),
    ],
)
def test_fields_that_make_no_network(fields, message):
    with pytest.raises(UserError, match=message):
        build("vit_test", **fields)


def test_in_half_precision_a_block_keeps_one_hidden_layer():
    def kept(dtype):
        model, variables = build("vit_test", dtype=dtype)
        x = images("vit_test").astype(dtype)

        def backward(params):
            return jax.vjp(lambda p: model.apply({"params": p}, x, train=True), params)[1]

        leaves = jax.tree.leaves(jax.eval_shape(backward, variables["params"]))
        return sum(leaf.shape[-2:] == (17, 4 * 32) for leaf in leaves)

    assert (kept("float32"), kept("bfloat16")) == (2 * 2, 2)
