import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.models.vgg import Head
from cnn.nn import Features
from tests.models.rows import build, evaluate, images, still


def maps(name, **fields):
    body = models.backbone(name, **fields)
    x = jnp.ones((1, 64, 96, 3))
    return jax.eval_shape(lambda k: body.init_with_output(k, x), jax.random.key(0))


def test_maps_and_parameters_of_the_backbone_are_without_the_dense_layers():
    features, variables = maps("vgg16")
    assert {stride: m.shape[1:] for stride, m in features.maps.items()} == {
        1: (64, 96, 64),
        2: (32, 48, 128),
        4: (16, 24, 256),
        8: (8, 12, 512),
        16: (4, 6, 512),
        32: (2, 3, 512),
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 14_714_688


def test_a_stage_may_keep_the_last_row_of_an_odd_map():
    body = models.backbone("vgg_test", ceil_stages=(1,))
    x = jnp.ones((1, 10, 6, 3))
    features, _ = jax.eval_shape(lambda k: body.init_with_output(k, x), jax.random.key(0))
    assert {stride: m.shape[1:3] for stride, m in features.maps.items()} == {
        1: (10, 6),
        2: (5, 3),
        4: (3, 2),
    }


def test_the_head_is_two_hidden_layers_on_the_averaged_map():
    model, variables = build("vgg_test")
    # The map is 6x6, so that the bins of the average are 2x2.
    x = images("vgg_test")[:, :24, :24]
    part = {collection: tree["backbone"] for collection, tree in variables.items()}
    features = evaluate(models.backbone("vgg_test"), part, x)
    y = np.asarray(features.maps[4]).reshape(4, 3, 2, 3, 2, 8).mean((2, 4)).reshape(4, -1)
    for name in ("hidden0", "hidden1", "logits"):
        params = jax.tree.map(np.asarray, variables["params"]["head"][name])
        y = y @ params["kernel"].reshape(y.shape[1], -1) + params["bias"]
        y = y if name == "logits" else np.maximum(y, 0)
    np.testing.assert_allclose(evaluate(model, variables, x), y, rtol=1e-4, atol=1e-5)


def test_any_map_is_averaged_to_the_head_s_size():
    model, variables = build("vgg_test")
    x = images("vgg_test")
    assert evaluate(model, variables, x[:, :28, :8]).shape == (4, 5)


def test_half_of_the_hidden_units_is_dropped_by_default():
    assert models.classifier("vgg16").head.dropout_rate == 0.5
    assert still("vgg16") == {"dropout_rate": 0.0}


@pytest.mark.parametrize(
    "field", [{"activation": "sigmoid"}, {"pool": "avg"}, {"pool": "stochastic"}]
)
def test_fields_change_the_result(field):
    model, variables = build("vgg_test")
    other, _ = build("vgg_test", **field)
    x = images("vgg_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-3)


def test_initialisation():
    head = Head(num_classes=2000, pool_size=1, hidden_sizes=())
    x = jnp.ones((1, 1, 1, 10))
    params = jax.jit(head.init)(jax.random.key(0), Features({1: x}, x[:, 0, 0]))["params"]
    np.testing.assert_allclose(np.std(params["logits"]["kernel"]), 0.01, rtol=0.03)


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="images too small"):
        models.classifier("vgg11").init(jax.random.key(0), jnp.ones((1, 31, 64, 3)))
