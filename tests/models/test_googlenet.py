import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn, ops
from cnn.errors import UserError
from cnn.models.googlenet import Auxiliary, Block, Style, Widths
from tests.models.rows import build, evaluate, images, train


def abstract(name, size, **fields):
    body = models.backbone(name, **fields)
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: body.init_with_output(key, x), jax.random.key(0), x)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_maps_of_the_paper(name):
    features, _ = abstract(name, (224, 224))
    assert {stride: m.shape[1:] for stride, m in features.maps.items()} == {
        2: (112, 112, 64),
        4: (56, 56, 192),
        8: (28, 28, 480),
        16: (14, 14, 832),
        32: (7, 7, 1024),
    }
    assert [m.shape[1:] for m in features.auxiliary] == [(14, 14, 512), (14, 14, 528)]


def test_the_papers_network_has_larger_kernels_and_biases():
    layers = {
        name: abstract(name, (32, 32))[1]["params"]["stage0_block0"]
        for name in ("googlenet", "googlenet_2014")
    }
    large = {name: block["branch2_layer1_conv"]["kernel"].shape for name, block in layers.items()}
    assert large == {"googlenet": (3, 3, 16, 32), "googlenet_2014": (5, 5, 16, 32)}
    assert "branch2_layer1_norm" in layers["googlenet"]
    assert set(layers["googlenet_2014"]["branch2_layer1_conv"]) == {"kernel", "bias"}
    assert len(layers["googlenet_2014"]) == 6


@pytest.mark.parametrize("field", [{"response_norm": True}, {"last_pool_size": 3}])
def test_fields_change_the_result(field):
    model, variables = build("googlenet_test")
    other, _ = build("googlenet_test", **field)
    x = images("googlenet_test")
    assert not np.allclose(evaluate(model, variables, x), evaluate(other, variables, x), rtol=1e-4)


def test_an_input_that_is_brought_to_plus_and_minus_one():
    model, variables = build("googlenet_test")
    other, _ = build("googlenet_test", transform_input=True)
    x = images("googlenet_test")
    expected = evaluate(model, variables, ops.to_half_range(x))
    np.testing.assert_allclose(evaluate(other, variables, x), expected, rtol=1e-5)


def test_images_that_are_too_small():
    abstract("googlenet", (15, 16))
    with pytest.raises(UserError, match="images too small"):
        abstract("googlenet", (15, 14))


# Auxiliary classifiers.


@pytest.mark.parametrize("name", ["googlenet_test", "inception_test"])
def test_auxiliary_logits_are_for_training_and_for_who_asks(name):
    model, variables = build(name)
    x = images(name)
    count = {"googlenet_test": 2, "inception_test": 1}[name]
    assert set(variables) == {"params", "batch_stats"}

    def sown(train, **fields):
        def run(variables, x):
            return model.clone(head=model.head.clone(**fields)).apply(
                variables, x, train=train, mutable=["batch_stats", "auxiliary"]
            )

        return jax.eval_shape(run, variables, x)[1].get("auxiliary", {})

    shapes = [leaf.shape for leaf in jax.tree.leaves(sown(train=True))]
    assert shapes == count * [(4, 5)]
    assert not jax.tree.leaves(sown(train=False))
    assert not jax.tree.leaves(sown(train=True, auxiliary=False))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    assert set(jax.eval_shape(lambda: model.init(keys, x, train=True))) == set(variables)
    # What they add is not of the backbone.
    without = build(name, auxiliary=False)[1]
    assert set(variables["params"]["head"]) - set(without["params"]["head"]) == {
        f"auxiliary{index}" for index in range(count)
    }


@pytest.mark.parametrize("name", ["googlenet_test", "inception_test"])
def test_the_main_logits_are_the_same_with_and_without(name):
    model, variables = build(name)
    without, _ = build(name, auxiliary=False)
    x = images(name)
    fewer = jax.tree.map(lambda leaf: leaf, variables)
    for collection in fewer.values():
        for key in [key for key in collection.get("head", {}) if key.startswith("auxiliary")]:
            del collection["head"][key]
    expected, _ = train(without, fewer, x, key=None)
    np.testing.assert_allclose(train(model, variables, x, key=None)[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(evaluate(model, variables, x), evaluate(without, fewer, x))


@pytest.mark.parametrize(
    ("size", "windows"), [((14, 14), True), ((20, 14), True), ((13, 9), False)]
)
def test_windows_of_the_paper_where_they_fit(size, windows):
    style = Style(batch_norm=False, sync=nn.WHOLE_BATCH, dtype="float32")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *size, 3), np.float32))
    ours = Auxiliary(5, (4, 6), "windows", 0.0, style)
    adaptive = Auxiliary(5, (4, 6), "adaptive", 0.0, style)
    variables = ours.init(jax.random.key(0), x, train=False)
    pooled = ops.avg_pool(x, 5, stride=3) if windows else x
    np.testing.assert_allclose(
        ours.apply(variables, x, train=False),
        adaptive.apply(variables, pooled, train=False),
        rtol=1e-5,
    )
    with pytest.raises(UserError, match="unknown auxiliary_pool 'window'; did you mean 'windows'"):
        Auxiliary(5, (4, 6), "window", 0.0, style).init(jax.random.key(0), x, train=False)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_initialisation(batch_norm):
    style = Style(batch_norm, sync=nn.WHOLE_BATCH, dtype="float32")
    x = jnp.ones((1, 4, 4, 8))

    def init(key):
        block = Block(Widths(400, 2, 2, 2, 2, 2), 3, style).init(key, x, train=False)
        head = Auxiliary(5, (2, 6), "adaptive", 0.0, style).init(key, x, train=False)
        return block["params"]["branch0_layer0_conv"], head["params"]

    # What is not returned is not drawn.
    conv, head = jax.jit(init)(jax.random.key(0))
    biases = {
        "conv": conv.get("bias", 0.0),
        "hidden": head["hidden"]["bias"],
        "logits": head["logits"]["bias"],
    }
    found = {name: set(np.ravel(bias).tolist()) for name, bias in biases.items()}
    kernel = np.asarray(conv["kernel"])
    if batch_norm:
        np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.1)
        assert found == {"conv": {0.0}, "hidden": {0.0}, "logits": {0.0}}
    else:
        # Variance 1 / 8, of 8 channels.
        np.testing.assert_allclose(np.abs(kernel).max(), np.sqrt(3 / 8), rtol=0.01)
        bias = float(np.float32(0.2))
        assert found == {"conv": {bias}, "hidden": {bias}, "logits": {0.0}}


def test_features_of_a_network_without_auxiliary_maps_are_fine():
    stages = tuple(
        tuple(widths._replace(auxiliary=False) for widths in stage)
        for stage in models.classifier("googlenet_test").backbone.stages
    )
    _, variables = build("googlenet_test", stages=stages)
    assert set(variables["params"]["head"]) == {"logits"}
