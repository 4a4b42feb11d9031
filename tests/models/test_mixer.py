import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.models.mixer import Block
from tests.models.rows import build, evaluate, images


def test_a_block_is_its_formula():
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    block = Block(3, 7, "gelu", drop_path_rate=0.0, dtype="float32")
    variables = jax.jit(lambda x: block.init(jax.random.key(0), x, train=False))(x)
    variables = jax.tree.map(lambda leaf: leaf * 1.5 + 0.1, variables)
    params = jax.tree.map(np.asarray, variables["params"])

    def norm(name, y):
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return y * params[name]["scale"] + params[name]["bias"]

    def mlp(name, y):
        first, second = params[f"{name}_expand"], params[f"{name}_project"]
        y = np.asarray(jax.nn.gelu(y @ first["kernel"] + first["bias"], approximate=False))
        return y @ second["kernel"] + second["bias"]

    y = x + mlp("token", norm("token_norm", x).transpose(0, 2, 1)).transpose(0, 2, 1)
    y = y + mlp("channel", norm("channel_norm", y))
    np.testing.assert_allclose(
        jax.jit(lambda v, x: block.apply(v, x, train=False))(variables, x), y, rtol=1e-4, atol=1e-4
    )


def test_the_pooled_vector_is_the_mean_of_the_patches():
    _, variables = build("mixer_test")
    body = models.backbone("mixer_test")
    features = evaluate(body, {"params": variables["params"]["backbone"]}, images("mixer_test"))
    assert features.maps[8].shape == (4, 4, 4, 16)
    np.testing.assert_allclose(features.pooled, features.maps[8].mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_images_of_another_size():
    model, variables = build("mixer_test")
    with pytest.raises(UserError, match="for 16 patches and these images have 12"):
        evaluate(model, variables, images("mixer_test")[:, :24])


def test_the_activation_is_a_field():
    model, variables = build("mixer_test")
    other, _ = build("mixer_test", activation="relu")
    x = images("mixer_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-3)


@pytest.mark.parametrize("size", [(4, 8), (33, 32), (32, 20)])
def test_images_are_whole_patches(size):
    with pytest.raises(
        UserError, match=f"{size[0]}x{size[1]} are no whole number of 8-pixel patches"
    ):
        models.backbone("mixer_test").init(jax.random.key(0), jnp.ones((1, *size, 3)))
