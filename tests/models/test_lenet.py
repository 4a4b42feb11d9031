import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.models.lenet import Gain, Head, SparseConv, codes
from cnn.nn import Conv, Features
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


def test_c3_of_the_paper_sees_each_map_ten_times():
    connections = models.backbone("lenet5_1998").connections
    assert sorted(map(len, connections)) == [3] * 6 + [4] * 9 + [6]
    assert len(set(connections)) == 16
    for seen in range(6):
        assert sum(seen in inputs for inputs in connections) == 10


def test_a_sparse_convolution_is_a_dense_one_with_holes():
    connections = ((0, 1), (2,), (0, 1, 2))
    layer = SparseConv(connections, 3, "float32")
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 3))
    params = layer.init(jax.random.key(1), x)["params"]
    params["bias"] = jnp.array([1.0, 2.0, 3.0])
    weights = iter(np.moveaxis(np.asarray(params["kernel"]), -1, 0))
    dense = np.zeros((3, 3, 3, 3), np.float32)
    for output, inputs in enumerate(connections):
        for seen in inputs:
            dense[:, :, seen, output] = next(weights)
    conv = {"params": {"kernel": jnp.asarray(dense), "bias": params["bias"]}}
    expected = Conv(3, 3, padding=0, use_bias=True).apply(conv, x)
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


def test_each_output_of_a_sparse_convolution_starts_with_its_own_fan_in():
    layer = SparseConv((tuple(range(40)), (0, 1)) * 4, 5, "float32")
    params = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 5, 5, 40)))["params"]
    first, second = params["kernel"][..., :40], params["kernel"][..., 40:42]
    np.testing.assert_allclose(np.std(first), 1 / np.sqrt(25 * 40), rtol=0.1)
    np.testing.assert_allclose(np.std(second), 1 / np.sqrt(25 * 2), rtol=0.3)


def test_connections_are_as_many_as_maps():
    with pytest.raises(UserError, match="connections are of 16 maps and widths says 8"):
        build("lenet5_1998", widths=(6, 8), output="linear")


def test_gains():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    params = {"scale": jnp.array([2.0, -1.0]), "bias": jnp.array([0.0, 5.0])}
    y = Gain("float32").apply({"params": params}, x)
    expected = np.stack([2 * np.asarray(x)[..., 0], 5 - np.asarray(x)[..., 1]], axis=-1)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_gain_comes_between_two_activations():
    _, variables = build("lenet_1998_test")
    params = variables["params"]["backbone"]
    x = images("lenet_1998_test")
    maps = evaluate(models.backbone("lenet_1998_test"), {"params": params}, x).maps
    conv = Conv(3, 5, use_bias=True).apply({"params": params["stem_conv"]}, x)
    squashed = 1.7159 * np.tanh(2 / 3 * np.asarray(conv))
    means = squashed.reshape(4, 14, 2, 14, 2, 3).mean((2, 4))
    gain = Gain("float32").apply({"params": params["gain2"]}, jnp.asarray(means))
    expected = 1.7159 * np.tanh(2 / 3 * np.asarray(gain))
    np.testing.assert_allclose(maps[2], expected, rtol=1e-4, atol=1e-5)


def test_codes_are_ten_pictures_that_differ():
    assert codes().shape == (10, 84)
    assert set(np.unique(codes())) == {-1.0, 1.0}
    different = np.sum(codes()[:, None] != codes()[None], axis=-1)
    assert different[~np.eye(10, dtype=bool)].min() >= 4
    one = codes()[1].reshape(12, 7)
    # A vertical stroke in the middle column.
    assert np.all(one[:, 3] == 1)
    assert np.all(one[3:11, [0, 1, 5, 6]] == -1)


def test_the_output_is_minus_the_squared_distance_to_the_codes():
    x = np.random.default_rng(0).standard_normal((3, 84)).astype(np.float32)
    x[1] = codes()[7]
    head = Head(num_classes=10, hidden_sizes=(), output="rbf")
    features = Features({4: jnp.asarray(x)[:, None, None]}, jnp.asarray(x))
    logits = np.asarray(head.apply({}, features))
    expected = [[-sum((x[i] - code) ** 2) for code in codes()] for i in range(3)]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert logits[1].argmax() == 7


@pytest.mark.parametrize("fields", [{}, {"num_classes": 10, "hidden_sizes": (120, 80)}])
def test_codes_for_other_classes_or_units(fields):
    model = models.classifier("lenet5_1998", **{"num_classes": 5, **fields})
    with pytest.raises(UserError, match=r"codes of 10 digits for 84 units, .* output='linear'"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 1)))


def test_the_codes_give_way_to_a_trained_output():
    _, variables = build("lenet5_1998", output="linear")
    assert variables["params"]["head"]["logits"]["kernel"].shape == (84, 5)
