"""A mesh of any shape: the numbers of one device, and what devices tell each other."""

import contextlib
import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import parallel, train
from cnn.errors import UserError
from cnn.parallel.mesh import mesh_strategy
from tests import tiny

CUT = {"num_devices": 0, "shard_min_size": 64}
PARALLEL = {
    "data:8": {**CUT, "mesh": "data:8"},
    "fsdp:8": {**CUT, "mesh": "fsdp:8"},
    "all axes": {**CUT, "mesh": "data:2,fsdp:2,model:2"},
    "pmap": {"num_devices": 8, "strategy": "pmap"},
}
SECTIONS = {
    "schedule": {"warmup_epochs": 0.0, "name": "constant"},
    "preprocess": {"image_size": 16},
    "optimizer": {"name": "adamw", "learning_rate": 2e-3, "clip_norm": 1.0},
}


def experiment(model, section, **others):
    fields = {"resnet_test": {}, "vit_test": {"patch_size": 4, "depth": 1}}[
        model.removesuffix("+groups")
    ]
    groups = {"norm_group_size": 8} if model.endswith("+groups") else {}
    return tiny.experiment(
        model={"name": model.removesuffix("+groups"), **fields, **groups},
        parallel=section,
        **{**SECTIONS, **others},
    )


def losses(model, section, num_steps=5, **others):
    made = experiment(model, section, **others)
    (state, tally), strategy = train.blank_carry(made), made.strategy
    step, zeros, found = train.make_step(made.task, strategy), tally, []
    key = strategy.share(jax.random.key(1))
    with contextlib.closing(made.train_batches(0)) as batches:
        for _ in range(num_steps):
            state, tally = step(state, zeros, strategy.put(next(batches)), key)
            found.append(strategy.fetch(tally).metrics["loss"].compute())
    return np.array(found)


@functools.cache
def alone(model):
    return losses(model, {"num_devices": 1})


# The first model with copies of the state is in the tests of the loop.
@pytest.mark.parametrize(
    ("model", "name"),
    [
        *itertools.product(["resnet_test"], ["fsdp:8", "all axes"]),
        *itertools.product(["resnet_test+groups", "vit_test"], PARALLEL),
    ],
)
def test_losses_are_those_of_one_device(model, name):
    expected = alone(model)
    np.testing.assert_allclose(losses(model, PARALLEL[name]), expected, rtol=1e-5)
    assert np.ptp(expected) > 1e-3, "the model must have moved for this to mean anything"


def test_groups_are_something_else():
    assert not np.allclose(alone("resnet_test+groups")[0], alone("resnet_test")[0])


def test_a_batch_in_parts_is_the_same_where_the_state_is_cut():
    parts = {"task": {"accumulate_steps": 2}}
    expected = losses("vit_test", {"num_devices": 1}, num_steps=3, **parts)
    found = losses("vit_test", PARALLEL["all axes"], num_steps=3, **parts)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def carry_bytes(carry):
    leaves = jax.tree.leaves(carry)
    own = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return own, sum(leaf.nbytes for leaf in leaves)


def test_state_lies_cut_before_and_after_a_step():
    made = experiment("vit_test", PARALLEL["fsdp:8"])
    state, tally = train.blank_carry(made)
    own, whole = carry_bytes(state)
    assert own < whole / 6
    step = train.make_step(made.task, made.strategy)
    batch = made.strategy.put(made.blank_batch(32))
    before = jax.tree.map(lambda x: x.sharding, state)
    after, _ = step(state, tally, batch, made.strategy.share(jax.random.key(0)))
    assert jax.tree.map(lambda x: x.sharding, after) == before
    assert before.params["backbone"]["block0"]["expand"]["kernel"].spec == jax.P(None, "fsdp")


@pytest.mark.parametrize("axes", ["fsdp:8", "data:4,model:2"])
def test_initial_numbers_are_those_of_one_device(axes):
    alone = train.blank_carry(experiment("vit_test", {"num_devices": 1}))
    cut = experiment("vit_test", {**CUT, "mesh": axes})
    found = cut.strategy.fetch(train.blank_carry(cut))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def program(model, section):
    """The compiled step, from shapes alone."""
    made = experiment(model, section)
    strategy = made.strategy
    key = strategy.share(jax.random.key(0))
    carry = jax.eval_shape(lambda: train.blank_carry(made))
    batch = strategy.abstract_batch(made.blank_batch(32))
    step = train.make_step(made.task, strategy)
    params = {leaf.shape for leaf in jax.tree.leaves(carry.state.params)}
    return step.lower(*strategy.abstract(carry), batch, key).compile().as_text(), params


def results(text, operation):
    """Shapes of what the operation makes, all of a tuple."""
    found = re.findall(rf"= (\S+|\(.*?\)) {operation}(?:-start)?\(", text)
    return {
        tuple(map(int, filter(None, dimensions.split(","))))
        for result in found
        for dimensions in re.findall(r"f32\[([\d,]*)\]", result)
    }


@pytest.mark.parametrize("model", ["resnet_test", "vit_test"])
@pytest.mark.parametrize("name", ["data:8", "fsdp:8"])
def test_devices_send_parameters_and_gradients_but_no_images(model, name):
    text, params = program(model, PARALLEL[name])
    gathered = results(text, "all-gather")
    assert gathered <= params
    assert bool(gathered) == (name == "fsdp:8")
    assert not results(text, "all-to-all")
    assert not results(text, "collective-permute")
    # Sums are gradients, in whatever shape, or over the channels of batch norm.
    sizes = set(map(math.prod, params))
    sums = {shape for shape in results(text, "all-reduce") if math.prod(shape) not in sizes}
    assert all(len(shape) <= 1 for shape in sums), sums


def test_along_model_only_sums_are_sent():
    text, _ = program("vit_test", {**CUT, "mesh": "data:4,model:2"})
    assert not results(text, "all-gather")
    assert not results(text, "all-to-all")
    # The tokens of a part of the batch: 16 patches and one for the class.
    assert (8, 17, 32) in results(text, "all-reduce")


def test_groups_that_one_device_has_need_no_sum_for_statistics():
    own, _ = program("resnet_test+groups", {**CUT, "num_devices": 4, "mesh": "data:4"})
    shared, _ = program("resnet_test", {**CUT, "num_devices": 4, "mesh": "data:4"})
    assert own.count("all-reduce(") < shared.count("all-reduce(")


@functools.cache
def first(name):
    """An experiment on these devices, and its state before the first step."""
    made = experiment("vit_test", {**PARALLEL, "one": {"num_devices": 1}}[name])
    return made, train.blank_carry(made)


@pytest.mark.parametrize("target", ["data:8", "fsdp:8", "all axes", "pmap", "one"])
@pytest.mark.parametrize("source", ["fsdp:8", "pmap"])
def test_checkpoints_move_to_other_meshes(tmp_path, source, target):
    (old, carry), (new, blank) = first(source), first(target)
    with train.open_checkpoints(old, tmp_path, pytest.fail) as checkpoints:
        checkpoints.save(1, old.strategy.pack(carry), None)
    expected = old.strategy.fetch(carry)
    blank = jax.tree.map(jnp.zeros_like, blank)
    with train.open_checkpoints(new, tmp_path, pytest.fail) as checkpoints:
        step, found = train.restore(new, checkpoints, blank)
    assert step == 1
    for ours, theirs in zip(
        jax.tree.leaves(new.strategy.fetch(found)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    layouts = [jax.tree.map(lambda x: x.sharding, carry) for carry in (found, blank)]
    assert layouts[0] == layouts[1] or target == "pmap"


def test_examples_are_cut_over_data_and_fsdp_and_shared_along_model():
    strategy = mesh_strategy(jax.devices(), mesh="data:2,fsdp:2,model:2")
    assert (strategy.num_devices, strategy.num_parts, strategy.host) == (8, 4, (0, 1))
    image = strategy.put({"image": np.arange(8, dtype=np.float32)})["image"]
    assert [shard.data.shape for shard in image.addressable_shards] == [(2,)] * 8
    np.testing.assert_array_equal(strategy.fetch_examples(image), np.arange(8))
    with pytest.raises(UserError, match="a batch of 6 does not divide over 4 devices"):
        parallel.check_batch_size(6, strategy.num_parts)
