import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
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
    with pytest.raises(UserError, match="for 13 tokens and these images have 17"):
        evaluate(model, variables, images("vit_test"))


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
    [({"pool": "mean"}, "unknown pool 'mean'"), ({"num_heads": 3}, "num_heads is 3.*divide 32")],
)
def test_fields_that_make_no_network(fields, message):
    with pytest.raises(UserError, match=message):
        build("vit_test", **fields)
