import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from tests.models.rows import build, evaluate, images


def test_it_is_its_formula():
    model, variables = build("mlp_test")
    x = images("mlp_test")
    params = jax.tree.map(np.asarray, variables["params"])
    body, logits = params["backbone"], params["head"]["logits"]
    y = np.asarray(x).reshape(4, -1) @ body["stem_conv"]["kernel"].reshape(784, 12)
    y = np.tanh(y + body["stem_conv"]["bias"])
    y = np.tanh(y @ body["hidden1"]["kernel"] + body["hidden1"]["bias"])
    expected = y @ logits["kernel"] + logits["bias"]
    np.testing.assert_allclose(evaluate(model, variables, x), expected, rtol=1e-4, atol=1e-5)
    other, _ = build("mlp_test", activation="relu")
    assert not np.allclose(evaluate(other, variables, x), expected, rtol=1e-2)


def test_the_first_layer_keeps_the_variance_of_the_pixels():
    body = models.backbone("mlp", hidden_sizes=[400])
    params = jax.jit(body.init)(jax.random.key(0), jnp.ones((1, 28, 28, 1)))["params"]
    np.testing.assert_allclose(np.std(params["stem_conv"]["kernel"]), 1 / 28, rtol=0.03)


def test_images_of_another_size():
    model, variables = build("mlp_test")
    with pytest.raises(UserError, match="images of 28x28x1 and these are 28x30x1"):
        evaluate(model, variables, jnp.ones((1, 28, 30, 1)))


def test_no_hidden_layer():
    with pytest.raises(UserError, match="hidden_sizes is empty"):
        build("mlp_test", hidden_sizes=[])
