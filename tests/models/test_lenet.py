import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from tests.models.rows import build, evaluate, images, train


def dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def test_the_head_is_c5_f6_and_the_output():
    model, variables = build("lenet_test")
    x = images("lenet_test")
    body = evaluate(models.backbone("lenet_test"), {"params": variables["params"]["backbone"]}, x)
    assert {stride: m.shape[1:] for stride, m in body.maps.items()} == {
        2: (14, 14, 2),
        4: (5, 5, 4),
    }
    head = variables["params"]["head"]
    y = np.asarray(body.maps[4]).reshape(4, -1)
    y = np.tanh(dense(head["hidden1"], np.tanh(dense(head["hidden0"], y))))
    np.testing.assert_allclose(evaluate(model, variables, x), dense(head["logits"], y), rtol=1e-4)


@pytest.mark.parametrize("field", [{"activation": "relu"}, {"pool": "max"}, {"pool": "stochastic"}])
def test_fields_change_the_result(field):
    model, variables = build("lenet_test")
    other, _ = build("lenet_test", **field)
    x = images("lenet_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-3)


def test_a_border_of_two_pixels_is_padding_of_two():
    model, variables = build("lenet_test")
    bare, _ = build("lenet_test", padding=0)
    x = images("lenet_test")
    border = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(
        evaluate(bare, variables, border), evaluate(model, variables, x), rtol=1e-5, atol=1e-6
    )


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="too small"):
        models.classifier("lenet5").init({"params": jax.random.key(0)}, jnp.ones((1, 11, 28, 1)))


def test_stochastic_pooling_draws_in_training_and_the_same_when_computed_again():
    x = images("lenet_test")
    fields = {"pool": "stochastic", "activation": "relu"}
    model, variables = build("lenet_test", **fields)
    again, _ = build("lenet_test", remat="block", **fields)
    first, other = (train(model, variables, x, key)[0] for key in (0, 1))
    assert not np.allclose(first, other, rtol=1e-3)
    np.testing.assert_allclose(train(again, variables, x, 0)[0], first, rtol=1e-5)


def test_an_unknown_pool():
    with pytest.raises(UserError, match="unknown pool 'average'; did you mean 'avg'"):
        build("lenet_test", pool="average")
