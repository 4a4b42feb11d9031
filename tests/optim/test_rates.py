"""Rates by layer, against the counts of the papers' code; rates by parameter."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, optim
from cnn.errors import UserError
from tests.optim.small import CONSTANT, assert_same, decay, tree, updates_of
from tests.optim.small import optimizer as small_optimizer


def above(name, *path, **fields):
    return models.layers_above(path, name=name, **fields)


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        # BEiT's run_class_finetuning: 0.65 ** (13 - id), id 0 for what embeds, i + 1 for block i.
        ("vit_b_16", "stem_conv", 13),
        ("vit_b_16", "class_token", 13),
        ("vit_b_16", "position_embedding", 13),
        ("vit_b_16", "block0", 12),
        ("vit_b_16", "block11", 1),
        ("vit_b_16", "norm", 0),
        ("mixer_s_16", "block0", 8),
        # ConvNeXt's optim_factory: 13 - id with 12 groups.
        ("convnext_base", "stem_conv", 13),
        ("convnext_base", "stem_norm", 13),
        ("convnext_base", "stage0_block2", 12),
        ("convnext_base", "stage1_conv", 11),
        ("convnext_base", "stage1_block0", 11),
        ("convnext_base", "stage2_norm", 10),
        ("convnext_base", "stage2_block2", 10),
        ("convnext_base", "stage2_block3", 9),
        ("convnext_base", "stage2_block26", 2),
        ("convnext_base", "stage3_conv", 1),
        ("convnext_base", "stage3_block0", 1),
        ("convnext_tiny", "stage2_block8", 8),
        ("convnext_iso_small", "stem_conv", 19),
        ("convnext_iso_small", "stage0_block17", 1),
    ],
)
def test_layers_are_counted_as_the_papers_code_does(name, part, expected):
    assert above(name, "backbone", part, "kernel") == expected
    assert above(name, "head", "logits", "kernel") == 0


def test_fields_of_the_model_change_the_count():
    path = ("backbone", "stem_conv", "kernel")
    assert above("vit_b_16", *path, depth=3, dtype="bfloat16", norm_group_size=0) == 4


@pytest.mark.parametrize("name", ["vit_test", "convnext_test", "mixer_test", "deit_test"])
def test_every_parameter_of_a_family_that_counts_has_its_layer(name):
    info = models.describe(name)
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    model = models.classifier(name, num_classes=5)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]
    paths = [
        tuple(key.key for key in path)
        for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]
    ]
    counts = {path: above(name, *path) for path in paths}
    assert min(counts.values()) == 0
    assert max(counts, key=counts.get)[1].startswith(("stem", "class", "distil", "position"))


def optimizer(**options):
    return optim.make_optimizer(
        CONSTANT,
        decay(weight_decay=0.1),
        name="adam",
        learning_rate=0.1,
        clip_norm=0.0,
        options={},
        **options,
    )


def test_the_whole_update_is_multiplied_decay_too():
    params, gradients = tree(), tree(2)
    plain = updates_of(optimizer(), gradients, params)
    counts = {"body": 3, "norm": 2, "embed": 4, "head": 0}
    scaled = updates_of(
        optimizer(layer_decay=0.5, layers_above=lambda path: counts[path[0]]), gradients, params
    )
    for part, count in counts.items():
        jax.tree.map(
            lambda old, new, ours, count=count: np.testing.assert_allclose(
                ours - old, (new - old) * 0.5**count, rtol=1e-4, atol=1e-6
            ),
            params[part],
            plain[part],
            scaled[part],
        )


def test_without_layer_decay_the_state_is_what_it_was():
    # Checkpoints of runs from before the key go on.
    plain = optimizer().init(tree())
    off = optimizer(layer_decay=1.0, layers_above=lambda path: 1).init(tree())
    assert jax.tree.structure(plain) == jax.tree.structure(off)


@pytest.mark.parametrize("value", [0.0, 1.1, -0.5, float("nan")])
def test_a_decay_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match=r"layer_decay must be in \(0, 1\], got"):
        optimizer(layer_decay=value, layers_above=lambda path: 1)


def test_a_family_that_does_not_count_names_those_that_do():
    with pytest.raises(UserError, match=r"vgg11 is of the family 'vgg'.*convnext, vit, mixer"):
        above("vgg11", "backbone", "stem_conv", "kernel")


# Factors and frozen parameters.


def rated(steps_per_epoch=10, **lists):
    tx = small_optimizer("sgd", own={"momentum": 0.9}, l2=0.1, apply_to="all")
    return optim.with_rates(tx, steps_per_epoch, **lists)


def test_a_factor_is_on_the_whole_update_and_the_others_stay():
    params, gradients = tree(), tree(2)
    plain = updates_of(rated(), gradients, params)
    scaled = updates_of(rated(factors=("norm/bias=64",)), gradients, params)
    moved = plain["norm"]["bias"] - params["norm"]["bias"]
    ours = scaled["norm"].pop("bias") - params["norm"]["bias"]
    np.testing.assert_allclose(ours, 64 * moved, rtol=1e-5)
    plain["norm"].pop("bias")
    assert_same(scaled, plain, rtol=0, atol=0)


def test_a_parameter_is_trained_for_its_epochs_and_then_stays_as_it_is():
    params, gradients = tree(), tree(2)
    tx = rated(2, trained_epochs=("body/bias=1.5", "body/kernel=0"))
    state, seen = tx.init(params), [params]
    for _ in range(5):
        updates, state = tx.update(gradients, state, seen[-1])
        seen.append(optax.apply_updates(seen[-1], updates))
    moved = [
        {name: bool(np.any(new["body"][name] != old["body"][name])) for name in old["body"]}
        for old, new in itertools.pairwise(seen)
    ]
    assert [step["bias"] for step in moved] == [True, True, True, False, False]
    assert not any(step["kernel"] for step in moved)
    assert np.any(seen[-1]["norm"]["bias"] != seen[-2]["norm"]["bias"])


def test_with_nothing_to_do_the_optimizer_is_itself():
    tx = optax.sgd(0.1)
    assert optim.with_rates(tx, 10) is tx


def test_factors_of_penalties_come_before_the_kind_of_parameter():
    params, zeros = tree(), jax.tree.map(jnp.zeros_like, tree())

    def shrunk(**penalties):
        after = updates_of(small_optimizer("sgd", 1.0, **penalties), zeros, params)
        kept = jax.tree.map(lambda old, new: float(jnp.mean(new / old)), params, after)
        return kept["body"]["kernel"], kept["norm"]["scale"], kept["embed"]["embedding"]

    factors = ("embedding=0.5", "body/kernel=2")
    for penalty in ("l2", "weight_decay"):
        assert shrunk(**{penalty: 0.1}, factors=factors) == pytest.approx((0.8, 1.0, 0.95))
        assert shrunk(**{penalty: 0.1}, factors=factors, apply_to="all") == pytest.approx(
            (0.8, 0.9, 0.95)
        )
    spared = updates_of(small_optimizer("sgd", 1.0, l1=0.1, factors=factors), zeros, params)
    np.testing.assert_allclose(
        spared["embed"]["embedding"] - params["embed"]["embedding"],
        -0.05 * np.sign(params["embed"]["embedding"]),
        rtol=1e-3,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rated(factors=("norm/bais=64",)), r"rates\.factors: 'norm/bais' matches"),
        (lambda: rated(trained_epochs=("stem=0",)), r"rates\.trained_epochs: 'stem' matches"),
        (
            lambda: small_optimizer("sgd", weight_decay=0.1, factors=("stem=0",)),
            r"regularization\.factors: 'stem' matches",
        ),
    ],
)
def test_a_rule_for_no_parameter_is_found_before_the_first_step(make, message):
    with pytest.raises(UserError, match=message):
        make().init(tree())
