"""What holds for every registered network, and for the smallest of each family."""

import importlib
import json
import pathlib

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import macs, models, nn, ops
from tests.models.counts import CHANGED, COUNTS
from tests.models.macs import GIGA_MACS, rounded_like
from tests.models.rows import (
    ROWS,
    backbone_fields,
    build,
    evaluate,
    images,
    stochastic_fields,
    train,
)

HERE = pathlib.Path(__file__).parent
FIXED_OUTPUTS = {"lenet5_1998"}
"""Networks whose last layer is not trained: radial basis functions."""

DEARER_TO_MAKE = {"airbench", "googlenet", "inception"}
"""Families whose first call takes more products: identity kernels, auxiliary classifiers."""


def shapes(model, size, channels=3):
    x = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    key = jax.random.key(0)
    return jax.eval_shape(
        lambda k, x: model.init_with_output({"params": k}, x, train=False), key, x
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def by_path(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def test_the_table_of_counts_is_complete():
    assert COUNTS.keys() == set(models.names())


def test_the_families_are_the_files():
    files = {path.stem for path in pathlib.Path(models.__file__).parent.glob("[a-z]*.py")}
    assert set(models.families()) == files


@pytest.mark.parametrize("family", models.families())
def test_the_names_are_the_variants(family):
    module = importlib.import_module(f"cnn.models.{family}")
    assert set(models.names(family)) == set(module.VARIANTS)
    assert any(name in ROWS for name in module.VARIANTS)
    assert len(backbone_fields(models.names(family)[0]) - {"parent", "name"}) <= 15


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", models.names())
def test_parameters_and_products(name):
    info = models.source(name)
    model = models.classifier(name, num_classes=info.num_classes)
    size = (1, info.image_size, info.image_size, info.channels)
    x = jax.ShapeDtypeStruct(size, jnp.float32)
    # Traced once: to make the parameters takes no products.
    program, (logits, variables) = jax.make_jaxpr(
        lambda key, x: model.init_with_output({"params": key}, x, train=False), return_shape=True
    )(jax.random.key(0), x)
    assert (count(variables["params"]), count(variables.get("batch_stats", {}))) == COUNTS[name]
    assert logits.shape == (1, info.num_classes)
    params = variables["params"]
    assert set(params) == {"backbone", "head"}
    assert params["backbone"]["stem_conv"]["kernel"].shape[2] == info.channels
    assert ("logits" in params["head"]) == (name not in FIXED_OUTPUTS)
    if "logits" in params["head"]:
        assert params["head"]["logits"]["kernel"].shape[-1] == info.num_classes
    if models.family_of(name) in DEARER_TO_MAKE:
        program = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, x)
    products = macs.count_traced(program)
    if name in GIGA_MACS:
        assert rounded_like(GIGA_MACS[name], products) == GIGA_MACS[name]
    # If not: `cnn models --measure --csv > cnn/models/table.csv`, and look at the difference.
    facts = (name, models.family_of(name), count(params), products)
    assert models.describe(name) == models.ModelInfo(
        *facts, **info._asdict(), task="classification"
    )


def cheapest():
    """Of each family, the network with the fewest products for each size of images."""
    found = {}
    for info in map(models.describe, models.names()):
        key = (info.family, info.image_size)
        if key not in found or info.macs < found[key].macs:
            found[key] = info
    return sorted(info.name for info in found.values())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", cheapest())
def test_a_map_grows_by_a_row_as_the_image_by_its_stride(name):
    """And by columns likewise."""
    info = models.source(name)
    body, size = models.backbone(name), info.image_size
    before, _ = shapes(body, (size, size), info.channels)
    assert bool(before.maps) == (models.family_of(name) != "mlp")
    assert before.pooled.ndim == 2
    if not before.maps:
        return
    step = max(before.maps)
    assert before.pooled.shape[-1] == before.maps[step].shape[-1]
    after, _ = shapes(body, (size + step, size + 2 * step), info.channels)
    for stride, small in before.maps.items():
        growth = np.subtract(after.maps[stride].shape[1:3], small.shape[1:3])
        assert tuple(growth * stride) == (step, 2 * step), stride


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "changes", "size", "expected"), CHANGED)
def test_parameters_of_a_changed_network(name, changes, size, expected):
    _, variables = shapes(models.classifier(name, **changes), (size, size))
    assert count(variables["params"]) == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ROWS)
def test_paths_of_parameters_are_a_file_format(name):
    """Checkpoints name parameters by path: a change here makes old ones unreadable."""
    _, variables = build(name)
    ours = {path: list(leaf.shape) for path, leaf in by_path(variables).items()}
    assert ours == json.loads((HERE / "paths.json").read_text())[name]


@pytest.mark.parametrize("name", ROWS)
def test_the_backbone_is_a_subtree_of_the_classifier(name):
    x = images(name, 2)
    _, variables = build(name)
    body = models.backbone(name)
    alone = jax.eval_shape(lambda k: body.init({"params": k}, x), jax.random.key(0))
    part = {collection: tree["backbone"] for collection, tree in variables.items()}
    assert jax.tree.map(jnp.shape, alone) == jax.tree.map(jnp.shape, part)
    features = jax.eval_shape(body.apply, part, x)
    assert isinstance(features, nn.Features)


@pytest.mark.parametrize("name", ROWS)
def test_an_example_does_not_see_its_batch(name):
    model, variables = build(name)
    x = images(name)
    logits = evaluate(model, variables, x)
    others = evaluate(model, variables, x.at[1:].set(7.0))
    np.testing.assert_array_equal(logits[0], others[0])
    assert not np.array_equal(logits[1], others[1])
    alone = evaluate(model, variables, x[:1])
    np.testing.assert_allclose(alone, logits[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_bfloat16_is_of_the_computation_only(name):
    # The dtypes of `variables` are those that the network's initialisation has.
    model, variables = build(name, dtype="bfloat16")
    x = images(name)
    logits, state = train(model, variables, x, key=0)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, state))} == {np.dtype("float32")}
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    part = {collection: tree["backbone"] for collection, tree in variables.items()}
    features = evaluate(models.backbone(name, dtype=jnp.bfloat16), part, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(features)} == {np.dtype(jnp.bfloat16)}
    exact = evaluate(models.classifier(name, num_classes=5), variables, x)
    rounded = evaluate(model, variables, x)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("name", ROWS)
def test_training_moves_batch_statistics_and_nothing_else(name):
    model, variables = build(name)
    _, state = train(model, variables, images(name), key=None)
    assert set(state) <= {"batch_stats"}
    before = by_path(variables.get("batch_stats", {}))
    after = by_path(state.get("batch_stats", {}))
    assert before.keys() == after.keys()
    for path, leaf in before.items():
        assert not np.array_equal(leaf, after[path]), path


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ROWS)
def test_under_an_axis_the_batch_is_the_global_one(name):
    model, variables = build(name)
    mapped, _ = build(name, axis_name="devices")
    x = images(name)
    logits, state = train(model, variables, x, key=None)
    halves = x.reshape(2, 2, *x.shape[1:])
    step = jax.vmap(lambda part: train(mapped, variables, part, key=None), axis_name="devices")
    parts, states = jax.jit(step)(halves)
    np.testing.assert_allclose(parts.reshape(logits.shape), logits, rtol=1e-4, atol=1e-4)
    for path, leaf in by_path(state).items():
        np.testing.assert_allclose(by_path(states)[path][0], leaf, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name in ROWS for field in stochastic_fields(name)]
)
def test_stochastic_layers_draw_from_the_dropout_key_in_training_only(name, field):
    model, variables = build(name, **{field: 0.5})
    x = images(name)
    first, _ = train(model, variables, x, key=0, auxiliary=True)
    again, _ = train(model, variables, x, key=0, auxiliary=True)
    other, _ = train(model, variables, x, key=1, auxiliary=True)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=1e-3)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        train(model, variables, x, key=None)
    plain, _ = build(name)
    np.testing.assert_array_equal(evaluate(model, variables, x), evaluate(plain, variables, x))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ROWS)
def test_gradients_reach_every_parameter(name):
    model, variables = build(name)
    x = images(name)

    def loss(params):
        logits, _ = train(model, {**variables, "params": params}, x, key=0, auxiliary=True)
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0])

    for path, grad in by_path(jax.jit(jax.grad(loss))(variables["params"])).items():
        assert np.isfinite(grad).all(), path
        assert np.any(grad != 0), path


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [name for name in ROWS if "remat" in backbone_fields(name)])
def test_what_is_computed_again_is_the_same(name):
    """Gradients, moved statistics and draws; and less is kept for the backward pass.

    In double precision: in single, the rounding of small batches' statistics is what differs. Of
    plain operations, whose programs compile in half the time.
    """
    with jax.enable_x64(True), ops.stock():
        check_what_is_computed_again(name)


def check_what_is_computed_again(name):
    fields = dict.fromkeys(stochastic_fields(name), 0.3)
    x, variables = jax.tree.map(lambda leaf: leaf.astype("float64"), (images(name), build(name)[1]))

    def loss(params, remat):
        model, _ = build(name, remat=remat, dtype="float64", **fields)
        logits, state = train(model, {**variables, "params": params}, x, key=0)
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0]), state

    def kept(remat):
        """How many numbers. Parameters and images, there anyway, are no results of equations."""
        jaxpr = jax.make_jaxpr(
            lambda params: jax.vjp(lambda params: loss(params, remat)[0], params)[1]
        )(variables["params"]).jaxpr
        results = {var for equation in jaxpr.eqns for var in equation.outvars}
        return sum(var.aval.size for var in jaxpr.outvars if var in results)

    def moved(remat):
        step = jax.jit(jax.value_and_grad(lambda params: loss(params, remat), has_aux=True))
        (_, state), gradients = step(variables["params"])
        return by_path({"state": state, "gradients": gradients})

    assert max(kept("block"), kept("dots")) < kept("none")
    expected = moved("none")
    for mode in ("block", "dots"):
        for path, leaf in moved(mode).items():
            np.testing.assert_allclose(leaf, expected[path], rtol=1e-8, atol=1e-10, err_msg=path)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("size", "channels"), [((40, 64), 1), ((24, 24), 5)])
def test_any_size_and_any_number_of_channels(name, size, channels):
    logits, variables = shapes(models.classifier(name, num_classes=5), size, channels)
    assert logits.shape == (1, 5)
    assert variables["params"]["backbone"]["stem_conv"]["kernel"].shape[2] == channels
