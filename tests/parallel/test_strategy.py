"""Both strategies: names, devices, batch sizes, and what goes in comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import parallel
from cnn.errors import UserError

NAMES = ("mesh", "pmap")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_batch_comes_back_in_order(name, num_devices):
    strategy = parallel.make_strategy(strategy=name, num_devices=num_devices)
    batch = {"image": np.arange(16 * 3, dtype=np.float32).reshape(16, 3)}
    double = strategy.predict(lambda state, batch: batch["image"] * state)
    state = strategy.unpack(jnp.asarray(2.0))
    found = strategy.fetch_examples(double(state, strategy.put(batch)))
    np.testing.assert_array_equal(found, batch["image"] * 2)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_sums_over_every_example(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=8)
    batch = {"image": np.arange(32, dtype=np.float32)}
    add = strategy.evaluate(lambda state, batch: strategy.total(jnp.sum(batch["image"] * state)))
    found = strategy.fetch(add(strategy.unpack(jnp.asarray(1.0)), strategy.put(batch)))
    assert found == batch["image"].sum()


@pytest.mark.parametrize("name", NAMES)
def test_pack_and_unpack_are_inverse(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=8)
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": (jnp.asarray(3, jnp.int32),)}
    laid_out = strategy.unpack(tree)
    packed = strategy.pack(laid_out)
    assert jax.tree.structure(packed) == jax.tree.structure(tree)
    for left, right in zip(jax.tree.leaves(packed), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(left, right)
    described = strategy.abstract(laid_out)
    assert described["a"].shape == (2, 3)
    assert described["b"][0].dtype == jnp.int32


@pytest.mark.parametrize("name", NAMES)
def test_shapes_of_a_batch_are_those_that_put_makes(name):
    strategy = parallel.make_strategy(jax.devices()[:4], strategy=name, num_devices=0)
    assert strategy.num_devices == 4
    batch = {"image": np.zeros((16, 4), np.float32)}
    laid_out, shapes = strategy.put(batch)["image"], strategy.abstract_batch(batch)["image"]
    assert (laid_out.shape, laid_out.sharding) == (shapes.shape, shapes.sharding)


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_spread_over_all_devices(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=8)
    image = strategy.put({"image": np.zeros((16, 4), np.float32)})["image"]
    assert {shard.device for shard in image.addressable_shards} == set(jax.devices())
    assert all(shard.data.size == 2 * 4 for shard in image.addressable_shards)


def test_replicas_of_a_pmap_draw_their_own_numbers():
    strategy = parallel.make_strategy(strategy="pmap", num_devices=8)
    step = strategy.step(lambda state, tally, batch, key: (jax.random.uniform(key), tally))
    state = strategy.unpack(jnp.asarray(0.0))
    batch = strategy.put({"image": np.zeros(8, np.float32)})
    drawn, _ = step(state, strategy.unpack(jnp.asarray(0.0)), batch, jax.random.key(0))
    assert len(set(np.asarray(drawn).tolist())) == 8


@pytest.mark.parametrize("name", NAMES)
def test_state_is_donated(name):
    strategy = parallel.make_strategy(strategy=name, num_devices=2)
    step = strategy.step(lambda state, tally, batch, key: (state + 1, tally))
    state, tally = strategy.unpack(jnp.zeros(4)), strategy.unpack(jnp.zeros(4))
    step(state, tally, strategy.put({"image": np.zeros(2, np.float32)}), jax.random.key(0))
    assert state.is_deleted()
    assert not tally.is_deleted()


def test_zero_devices_means_all():
    assert parallel.make_strategy(strategy="mesh", num_devices=0).num_devices == 8


@pytest.mark.parametrize(
    ("strategy", "num_devices", "message"),
    [
        ("mash", 0, r"unknown value of parallel.strategy 'mash'; did you mean 'mesh'"),
        ("mesh", 9, r"num_devices is 9, but there are 8 cpu devices"),
        ("pmap", -1, r"num_devices is -1"),
    ],
)
def test_wrong_section_is_one_clear_line(strategy, num_devices, message):
    with pytest.raises(UserError, match=message):
        parallel.make_strategy(strategy=strategy, num_devices=num_devices)


@pytest.mark.parametrize(
    ("batch_size", "nearest"),
    [(100, "do are 96 and 104"), (7, "does is 8"), (0, "does is 8"), (65, "do are 64 and 72")],
)
def test_batch_that_does_not_divide_names_the_nearest(batch_size, nearest):
    with pytest.raises(UserError, match=nearest):
        parallel.check_batch_size(batch_size, 8)


def test_pmap_has_no_mesh():
    with pytest.raises(UserError, match=r"parallel.mesh and parallel.rules are for"):
        parallel.make_strategy(strategy="pmap", num_devices=0, mesh="fsdp:8")


def test_pmap_is_for_one_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"strategy=pmap is for one process, and there are 2"):
        parallel.make_strategy(strategy="pmap", num_devices=0)


def test_batch_that_divides_is_fine():
    parallel.check_batch_size(64, 8)
