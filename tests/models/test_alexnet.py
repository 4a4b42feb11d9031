import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from tests.models.rows import build, evaluate, images, train


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("alexnet", 224, {4: (55, 64), 8: (27, 192), 16: (13, 256), 32: (6, 256)}),
        ("alexnet_2012", 227, {4: (55, 96), 8: (27, 256), 16: (13, 256), 32: (6, 256)}),
    ],
)
def test_maps_of_the_papers(name, size, expected):
    body = models.backbone(name)
    x = jnp.ones((1, size, size, 3))
    features = jax.eval_shape(lambda k: body.init_with_output(k, x)[0], jax.random.key(0))
    assert {stride: m.shape[2:] for stride, m in features.maps.items()} == expected


def test_the_second_fourth_and_fifth_convolution_are_in_two_groups():
    _, variables = build("alexnet_2012", jnp.ones((1, 67, 67, 3)), hidden_sizes=(2,))
    body = variables["params"]["backbone"]
    inputs = {name: layer["kernel"].shape[2] for name, layer in body.items()}
    assert inputs == {"stem_conv": 3, "conv2": 48, "conv3": 256, "conv4": 192, "conv5": 192}


@pytest.mark.parametrize(
    "field",
    [
        {"response_norm": False},
        {"stem_stride": 2},
        {"activation": "leaky_relu"},
        {"pool": "avg"},
        {"pool": "stochastic"},
    ],
)
def test_fields_change_the_result(field):
    model, variables = build("alexnet_test")
    other, _ = build("alexnet_test", **field)
    x = images("alexnet_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-5)


@pytest.mark.parametrize("place", ["before", "after"])
def test_where_dropout_is(place):
    """Before the hidden layers it reaches the map, after them the last hidden layer."""
    assert models.classifier("alexnet").head.dropout == "before"
    assert models.classifier("alexnet_2012").head.dropout == "after"
    model, variables = build("alexnet_test", dropout=place, dropout_rate=0.999, hidden_sizes=(9,))
    head = variables["params"]["head"]
    logits, _ = train(model, variables, images("alexnet_test"), key=0)
    # Nearly everything is dropped: what is left of the dropped layer is nothing.
    hidden = {"before": np.maximum(head["hidden0"]["bias"], 0), "after": np.zeros(9)}[place]
    expected = hidden @ np.asarray(head["logits"]["kernel"]) + np.asarray(head["logits"]["bias"])
    np.testing.assert_allclose(logits, np.tile(expected, (4, 1)), rtol=1e-4)


def test_initialisation():
    model = models.classifier("alexnet_test", hidden_sizes=(400, 3))
    x = images("alexnet_test", 1)

    def init(key):
        params = model.init(key, x)["params"]
        layers = {**params["backbone"], **params["head"]}
        biases = {name: layer["bias"] for name, layer in layers.items()}
        return biases, params["head"]["hidden0"]["kernel"]

    # What is not returned is not drawn.
    biases, kernel = jax.jit(init)(jax.random.key(0))
    np.testing.assert_allclose(np.std(kernel), 0.01, rtol=0.03)
    ones = {"conv2", "conv4", "conv5", "hidden0", "hidden1"}
    for name, bias in biases.items():
        assert set(np.asarray(bias).tolist()) == {1.0 if name in ones else 0.0}, name


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="images too small"):
        models.classifier("alexnet").init(jax.random.key(0), jnp.ones((1, 62, 64, 3)))


def test_an_unknown_place_of_dropout():
    with pytest.raises(UserError, match="unknown dropout 'behind'"):
        build("alexnet_test", dropout="behind")
