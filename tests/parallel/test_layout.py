"""Where arrays lie: axes of a mesh, rules by path, and how much of a state a device has."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, parallel
from cnn.errors import UserError
from cnn.parallel import layout
from cnn.tasks import classification


def laid_out(mesh, *rules, min_size=0):
    return layout.make_layout(jax.devices(), mesh, rules, min_size)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", (8, 1, 1)),
        ("data:4,fsdp:2", (4, 2, 1)),
        ("fsdp:2", (4, 2, 1)),
        ("model:2, fsdp:4", (1, 4, 2)),
        ("data:2,fsdp:2,model:2", (2, 2, 2)),
    ],
)
def test_data_takes_the_rest(text, lengths):
    assert tuple(layout.mesh_shape(text, 8).values()) == lengths


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:4", "which is no mesh of 8 devices"),
        ("fsdp:3", "which is no mesh of 8 devices"),
        ("fsdp:16", "which is no mesh of 8 devices"),
        ("fspd:8", "unknown axis of parallel.mesh 'fspd'; did you mean 'fsdp'"),
        ("fsdp", "cannot be read at 'fsdp'"),
        ("fsdp:0", "cannot be read at 'fsdp:0'"),
        ("fsdp:-2", "cannot be read at 'fsdp:-2'"),
        ("fsdp:2,fsdp:4", "cannot be read at 'fsdp:4'"),
    ],
)
def test_mesh_that_cannot_be_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parallel.make_strategy(strategy="mesh", num_devices=0, mesh=text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("logits/kernel", "is no rule; one is REGEX=AXIS"),
        ("=fsdp", "is no rule; one is REGEX=AXIS"),
        ("(=fsdp", "'\\(' is no regular expression"),
        ("kernel=-,modle", "unknown axis of parallel.rules 'modle'; did you mean 'model'"),
        ("kernel=data", "unknown axis of parallel.rules 'data'"),
    ],
)
def test_rule_that_cannot_be_is_one_line(rule, message):
    with pytest.raises(UserError, match=message):
        laid_out("fsdp:8", rule)


def test_size_that_cannot_be():
    with pytest.raises(UserError, match="shard_min_size must be at least 0, got -1"):
        laid_out("fsdp:8", min_size=-1)


@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        ((3, 3, 64, 128), (None, None, None, "fsdp")),
        ((3, 3, 128, 64), (None, None, "fsdp", None)),
        ((128, 128), (None, "fsdp")),
        ((128, 10), ("fsdp", None)),
        ((7, 10), (None, None)),
        ((8,), ("fsdp",)),
        ((), ()),
    ],
)
def test_the_largest_dimension_that_divides_is_cut(shape, cut):
    assert laid_out("fsdp:8").cut("params/any/kernel", shape) == cut


def test_small_arrays_are_whole():
    small = laid_out("fsdp:8", min_size=100)
    assert small.cut("bias", (96,)) == (None,)
    assert small.cut("bias", (104,)) == ("fsdp",)


def test_both_axes_cut_a_pair_of_layers():
    both = laid_out("fsdp:4,model:2")
    for family in ("backbone/block3", "backbone/stage1_block3"):
        assert both.cut(f"{family}/expand/kernel", (16, 64)) == ("fsdp", "model")
        assert both.cut(f"{family}/project/kernel", (64, 16)) == ("model", "fsdp")
    # What an axis does not divide it leaves whole.
    assert both.cut("block0/expand/kernel", (16, 63)) == ("fsdp", None)
    # Another layer of such a name, of another rank.
    assert both.cut("block0/expand/kernel", (1, 1, 16, 64)) == (None, None, None, "fsdp")


def test_rules_of_the_user_come_first_and_say_all():
    own = laid_out("fsdp:4,model:2", "logits/kernel=-,model", r"block\d/expand/kernel=-,-")
    assert own.cut("params/head/logits/kernel", (64, 16)) == (None, "model")
    assert own.cut("params/block0/expand/kernel", (16, 64)) == (None, None)
    assert own.cut("params/block10/expand/kernel", (16, 64)) == ("fsdp", "model")


def abstract_state(name, place, tx):
    model = models.classifier(name)
    task = classification.make(
        model, tx, place.gather, label_smoothing=0.0, top_k=0, accumulate_steps=1
    )
    batch = {"image": jax.ShapeDtypeStruct((8, 224, 224, 3), jnp.float32)}
    return jax.eval_shape(task.init, jax.random.key(0), batch)


def device_bytes(state, place):
    """(on a device, of the whole)."""
    leaves = jax.tree.leaves(state)
    shardings = jax.tree.leaves(place.shardings(state))
    shard = [s.shard_shape(x.shape) for s, x in zip(shardings, leaves, strict=True)]
    sizes = [x.dtype.itemsize for x in leaves]
    own = sum(int(np.prod(shape)) * size for shape, size in zip(shard, sizes, strict=True))
    return own, sum(x.size * size for x, size in zip(leaves, sizes, strict=True))


@pytest.mark.parametrize("name", ["vit_s_16", "resnet50"])
def test_a_device_of_eight_has_a_seventh_of_the_state_at_most(name):
    place = laid_out("fsdp:8", min_size=16_384)
    own, whole = device_bytes(abstract_state(name, place, optax.adam(1e-3)), place)
    assert own <= whole / 7
    alone = laid_out("data:8", min_size=16_384)
    assert device_bytes(abstract_state(name, alone, optax.adam(1e-3)), alone) == (whole, whole)


def test_what_an_optimizer_keeps_lies_where_its_parameter_does():
    place = laid_out("data:2,fsdp:2,model:2", min_size=1000)
    state = abstract_state("vit_s_16", place, optax.adam(1e-3))
    shardings = place.shardings(state)
    for kept in (shardings.opt_state[0].mu, shardings.opt_state[0].nu):
        assert kept == shardings.params
    attention = shardings.params["backbone"]["block0"]["attention"]
    assert attention["query"]["kernel"].spec == jax.P("fsdp", "model")
    assert attention["query"]["bias"].spec == jax.P("model")
    assert attention["out"]["kernel"].spec == jax.P("model", "fsdp")
    assert attention["out"]["bias"].spec == jax.P()


def families_cut_by_model():
    place = laid_out("data:4,model:2")
    found = set()
    for name in models.names():
        if not name.endswith("_test"):
            continue
        info = models.describe(name)
        images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
        variables = jax.eval_shape(models.classifier(name).init, jax.random.key(0), images)
        cuts = jax.tree.leaves(
            jax.tree.map(lambda s: tuple(s.spec), place.shardings(variables)),
            is_leaf=lambda x: isinstance(x, tuple),
        )
        if any("model" in cut for cut in cuts):
            found.add(models.family_of(name))
    return found


def test_families_with_pairs_of_dense_layers_are_cut_by_model():
    assert families_cut_by_model() == {"vit", "convnext", "mixer"}
