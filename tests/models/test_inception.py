import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn, ops
from cnn.errors import UserError
from cnn.models.inception import Auxiliary, Block, Head, Module, Style
from cnn.nn import Features
from tests.models.rows import build, evaluate, images

STYLE = Style(sync=nn.WHOLE_BATCH, dtype="float32")


def abstract(size, name="inception_v3", **fields):
    body = models.backbone(name, **fields)
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: body.init_with_output(key, x), jax.random.key(0), x)


def test_maps_of_the_paper():
    features, _ = abstract((299, 299))
    assert {stride: m.shape[1:] for stride, m in features.maps.items()} == {
        2: (147, 147, 64),
        4: (71, 71, 192),
        8: (35, 35, 288),
        16: (17, 17, 768),
        32: (8, 8, 2048),
    }
    assert [m.shape[1:] for m in features.auxiliary] == [(17, 17, 768)]


def test_a_stem_for_small_images_has_the_same_parameters():
    large, variables = abstract((75, 75))
    small, others = abstract((24, 24), stem="cifar")
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, others)
    assert {stride: m.shape[1] for stride, m in small.maps.items()} == {1: 24, 2: 11, 4: 5}
    assert large.maps[32].shape[1:3] == (1, 1)
    with pytest.raises(UserError, match="unknown stem 'cifer'; did you mean 'cifar'"):
        abstract((75, 75), stem="cifer")


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="images too small"):
        abstract((75, 74))


def test_an_input_that_is_brought_to_plus_and_minus_one():
    model, variables = build("inception_test")
    other, _ = build("inception_test", transform_input=True)
    x = images("inception_test")
    expected = evaluate(model, variables, ops.to_half_range(x))
    np.testing.assert_allclose(evaluate(other, variables, x), expected, rtol=1e-5)


X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 11, 3), np.float32))
MODULES = {
    "A": Module("A", ((2,), (3, 4), (5, 6, 7)), 8),
    "B": Module("B", ((2,), (3, 4, 5))),
    "C": Module("C", ((2,), (3, 4, 5), (6, 7, 8, 9, 10)), 11),
    "D": Module("D", ((2, 3), (4, 5, 6, 7))),
    "E": Module("E", ((2,), (3, 4), (5, 6, 7)), 8),
}
# Of the input's three channels: those that a halving module passes on.
OUTPUTS = {
    "A": (9, 11, 2 + 4 + 7 + 8),
    "B": (4, 5, 2 + 5 + 3),
    "C": (9, 11, 2 + 5 + 10 + 11),
    "D": (4, 5, 3 + 7 + 3),
    "E": (9, 11, 2 + 2 * 4 + 2 * 7 + 8),
}


@pytest.mark.parametrize("kind", MODULES)
def test_modules(kind):
    block = Block(MODULES[kind], STYLE)
    y, variables = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), X, train=False))
    assert y.shape == (2, *OUTPUTS[kind])
    kernels = {
        layer: leaves["kernel"].shape[:2]
        for layer, leaves in variables["params"].items()
        if layer.endswith("_conv")
    }
    if kind == "C":
        sizes = [kernels[f"branch2_layer{index}_conv"] for index in range(5)]
        assert sizes == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    if kind == "E":
        assert kernels["branch1_layer1_conv"] == (1, 3)
        assert kernels["branch1_layer1_twin_conv"] == (3, 1)


def test_the_largest_pixel_goes_through_a_module_that_halves():
    block = Block(MODULES["B"], STYLE)
    y, _ = jax.jit(lambda: block.init_with_output(jax.random.key(0), X, train=False))()
    np.testing.assert_array_equal(y[..., -3:], ops.max_pool(X, 3, stride=2))


def test_a_pair_of_transposed_kernels_sees_the_same_input():
    block = Block(MODULES["E"], STYLE)
    run = jax.jit(lambda x: block.init_with_output(jax.random.key(0), x, train=False)[0])
    base, moved = run(X), run(X.at[0, 4, 5].add(9.0))
    branch = np.abs(np.asarray(moved - base))[0, ..., 2:10]
    across, down = (branch[..., part].max(axis=-1) > 0 for part in (slice(4), slice(4, 8)))
    assert set(zip(*np.nonzero(across), strict=True)) == {(4, 4), (4, 5), (4, 6)}
    assert set(zip(*np.nonzero(down), strict=True)) == {(3, 5), (4, 5), (5, 5)}


def test_an_unknown_kind_of_module():
    with pytest.raises(UserError, match="unknown kind of module 'F'"):
        Block(Module("F", ()), STYLE).init(jax.random.key(0), X, train=False)


@pytest.mark.parametrize("size", [(17, 17), (20, 23), (16, 17), (3, 1)])
def test_the_auxiliary_classifier_takes_maps_of_any_size(size):
    """Windows at stride 3 from 17x17 on, and bins below; its convolution always has its 5x5."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, *size, 3), np.float32))
    classifier = Auxiliary(5, (4, 6), STYLE)
    logits, variables = jax.jit(
        lambda: classifier.init_with_output(jax.random.key(0), x, train=False)
    )()
    params = variables["params"]
    assert params["last_conv"]["kernel"].shape == (5, 5, 4, 6)
    pooled = ops.avg_pool(x, 5, stride=3) if min(size) >= 17 else ops.adaptive_avg_pool(x, 5)
    # Norms of an evaluation with the first statistics only divide.
    shrink = 1 / np.sqrt(1 + 1e-3)
    y = jax.nn.relu(ops.conv(pooled, params["reduce_conv"]["kernel"]) * shrink)
    y = jax.nn.relu(ops.conv(y, params["last_conv"]["kernel"]) * shrink).mean((1, 2))
    expected = y @ params["logits"]["kernel"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-7)
    assert np.any(expected != 0)


def test_initialisation():
    x = jnp.ones((1, 5, 5, 3))

    def init(key):
        block = Block(MODULES["A"]._replace(widths=((400,), (3, 4), (5, 6, 7))), STYLE)
        block = block.init(key, x, train=False)["params"]
        auxiliary = Auxiliary(300, (20, 30), STYLE).init(key, x, train=False)["params"]
        pooled = Features({}, jnp.ones((1, 30)))
        head = Head(30, auxiliary=False).init(key, pooled)["params"]
        layers = (
            block["branch0_layer0_conv"],
            head["logits"],
            auxiliary["reduce_conv"],
            auxiliary["last_conv"],
            auxiliary["logits"],
        )
        return [jnp.std(layer["kernel"]) for layer in layers]

    deviations = jax.jit(init)(jax.random.key(0))
    np.testing.assert_allclose(deviations, [0.1, 0.1, 0.1, 0.01, 0.001], rtol=0.15)
