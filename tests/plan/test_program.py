import jax
import jax.numpy as jnp
import pytest

from cnn import data
from cnn.errors import UserError
from cnn.plan.program import make_step
from tests import tiny


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    def refuse(**_):
        raise AssertionError("a data set was opened")

    monkeypatch.setattr(data, "open_sources", refuse)


def config(**sections):
    return tiny.config(**{"parallel": {"num_devices": 0}, **sections})


def test_the_step_is_made_from_shapes_and_laid_out_over_the_devices():
    step = make_step(config(model={"dtype": "bfloat16"}), jax.devices())
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(step.args))
    _, _, batch, _ = step.args
    assert set(batch) == {"image", "label"}
    assert batch["image"].dtype == jnp.bfloat16
    assert batch["image"].sharding.shard_shape(batch["image"].shape)[0] == 32 // 8
    assert step.experiment.loop.num_steps == 6
    assert "stablehlo" in step.run.lower(*step.args).as_text()


def test_parameters_are_those_of_the_model():
    state = tiny.experiment().abstract_state()
    step = make_step(config(), jax.devices())
    assert step.num_parameters == sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_the_length_is_that_of_the_whole_data_set():
    section = {"num_steps": 0, "num_epochs": 2.0}
    assert make_step(config(train=section), jax.devices()).experiment.loop.num_steps == 2 * 125
    half = {**tiny.config()["sampling"], "fraction": 0.5}
    step = make_step(config(train=section, sampling=half), jax.devices())
    assert step.experiment.loop.num_steps == 2 * (2000 // 32)
    told = make_step(config(train=section), jax.devices(), num_train=640, num_classes=7)
    assert told.experiment.loop.num_steps == 2 * 20
    assert told.experiment.facts.class_names == tuple("0123456")


def test_images_are_the_largest_of_the_training():
    by_epoch = {"alternate_flips": False, "sizes_px": (20, 32), "from_epochs": (0, 1)}
    step = make_step(config(by_epoch=by_epoch), jax.devices())
    assert step.args[2]["image"].shape[1:3] == (32, 32)


def test_pmap_is_refused():
    with pytest.raises(UserError, match=r"parallel\.strategy='mesh' only"):
        make_step(config(parallel={"strategy": "pmap"}), jax.devices())


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match="does not divide over 8 devices"):
        make_step(config(loader={"batch_size": 12}), jax.devices())
