"""The features of every family's small network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError


@pytest.mark.parametrize("name", ["lenet_test", "resnet_test", "vit_test"])
def test_the_last_layer_of_them_is_the_logits(name):
    source = models.source(name)
    model = models.classifier(name, num_classes=3)
    shape = (2, source.image_size, source.image_size, source.channels)
    images = jax.random.normal(jax.random.key(0), shape)
    variables = jax.jit(model.init)(jax.random.key(1), images)
    run = jax.jit(lambda v, x: (nn.penultimate(model, v, x), model.apply(v, x)))
    features, logits = run(variables, images)
    layer = variables["params"]["head"]["logits"]
    expected = np.asarray(features) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert features.dtype == jnp.float32


def test_a_network_without_such_a_layer_is_one_line():
    model = models.classifier("lenet5_1998", num_classes=10)
    images = jnp.zeros((1, 32, 32, 1))
    variables = jax.eval_shape(model.init, jax.random.key(1), images)
    with pytest.raises(UserError, match="has no features"):
        jax.eval_shape(lambda v: nn.penultimate(model, v, images), variables)
