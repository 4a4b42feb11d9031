import functools

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.densenet import Head, Unit
from cnn.nn import Features
from tests.models.rows import build, evaluate, images


def shapes(**fields):
    body = models.backbone("densenet_test", **fields)
    x = jnp.ones((1, 32, 32, 3))
    features, variables = jax.eval_shape(body.init_with_output, jax.random.key(0), x)
    return {stride: m.shape[1:] for stride, m in features.maps.items()}, variables["params"]


def test_a_layer_adds_its_growth_rate_to_what_it_got():
    maps, params = shapes(depths=(3, 1))
    assert maps == {1: (32, 32, 8 + 3 * 4), 2: (16, 16, 10 + 4)}
    widths = [params[f"block0_layer{i}"]["conv0"]["kernel"].shape[2] for i in range(3)]
    assert widths == [8, 12, 16]


def test_bottleneck_and_compression():
    _, params = shapes(bottleneck=2, compression=1.0)
    assert params["block0_layer0"]["conv0"]["kernel"].shape == (1, 1, 8, 8)
    assert params["transition1"]["conv0"]["kernel"].shape == (1, 1, 12, 12)


def test_the_activation_is_a_field():
    model, variables = build("densenet_test")
    other, _ = build("densenet_test", activation="gelu")
    x = images("densenet_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-3)


def test_stems():
    maps, params = shapes(stem="imagenet")
    assert {stride: m[:2] for stride, m in maps.items()} == {2: (16, 16), 4: (8, 8), 8: (4, 4)}
    assert "stem_norm" in params
    assert "stem_norm" not in shapes()[1]
    with pytest.raises(UserError, match="unknown stem 'cifa'; did you mean 'cifar'"):
        shapes(stem="cifa")


def test_images_that_vanish_between_blocks():
    with pytest.raises(UserError, match="images too small"):
        build("densenet_test", images("densenet_test", 1)[:, :1, :1])


def test_dropout_follows_each_convolution():
    x = jnp.ones((1, 16, 16, 8))
    unit = Unit((64,), (1,), "relu", 0.25, nn.Sync(), "float32")
    variables = unit.init(jax.random.key(0), (x,), train=False)
    # Of a constant image the norm leaves its bias alone.
    variables["params"]["norm0"]["bias"] = jnp.ones(8)
    dropped, _ = unit.apply(
        variables, (x,), train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    np.testing.assert_allclose(np.mean(np.asarray(dropped) == 0), 0.25, atol=0.02)


@pytest.mark.parametrize("mode", ["block", "dots"])
def test_what_is_kept_grows_by_the_same_with_each_layer(mode):
    """And not with all channels before it, as it does where nothing is computed again."""

    def kept(depth, remat):
        model, variables = build("densenet_test", depths=(depth,), remat=remat)
        x = images("densenet_test", 1)
        state = variables["batch_stats"]

        @jax.jit
        def loss(params):
            return jnp.sum(model.apply({"params": params, "batch_stats": state}, x, train=False))

        _, backward = jax.vjp(loss, variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(backward) if leaf.ndim == 4)

    def growth(remat):
        first, second, third = (kept(depth, remat) for depth in (2, 4, 6))
        # Without the kernels, which grow with the channels that they see.
        kernels = 2 * 2 * 4 * 4 * 4
        return (third - second) - (second - first) - kernels

    assert growth("none") > 0
    assert growth(mode) == 0


def test_the_first_convolution_has_no_dropout():
    def train(depths):
        body = models.backbone("densenet_test", depths=depths, dropout_rate=0.5)
        x = images("densenet_test", 1)
        variables = jax.eval_shape(body.init, jax.random.key(0), x)
        apply = functools.partial(body.apply, train=True, mutable=["batch_stats"])
        jax.eval_shape(apply, variables, x)

    train(())
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        train((1,))


def test_initialisation_of_the_head():
    head = Head(num_classes=200)
    params = head.init(jax.random.key(0), Features({}, jnp.ones((1, 100))))["params"]
    kernel = np.asarray(params["logits"]["kernel"])
    np.testing.assert_allclose([kernel.min(), kernel.max()], [-0.1, 0.1], rtol=0.01)
