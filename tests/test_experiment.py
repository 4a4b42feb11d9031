"""From a config to the parts of a run."""

import contextlib

import jax
import numpy as np
import pytest

from cnn import experiment as experiments
from cnn import train
from cnn.checkpoint import Checkpoints
from cnn.errors import UserError
from tests import tiny

CADENCES = {"log_every_steps": 5, "eval_every_steps": 0, "checkpoint_every_steps": 0}


def test_epochs_become_steps():
    loop = experiments.make_loop(100, num_epochs=2.5, num_steps=0, **CADENCES)
    assert loop == experiments.Loop(250, 5, 100, 100)


def test_steps_win_over_epochs():
    loop = experiments.make_loop(
        100,
        num_epochs=2.5,
        num_steps=7,
        log_every_steps=1,
        eval_every_steps=3,
        checkpoint_every_steps=4,
    )
    assert loop == experiments.Loop(7, 1, 3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": 0.0}, "nothing to train"),
        ({"log_every_steps": 0}, "log_every_steps must be at least 1"),
        ({"eval_every_steps": -1}, "at least 0"),
    ],
)
def test_impossible_loop_is_one_clear_line(changes, message):
    values = {"num_epochs": 1.0, "num_steps": 0, **CADENCES, **changes}
    with pytest.raises(UserError, match=message):
        experiments.make_loop(100, **values)


def test_wrong_task_and_parts_are_named():
    with pytest.raises(UserError, match=r"unknown task 'clasification'; did you mean"):
        tiny.experiment(task={"name": "clasification"})
    with pytest.raises(UserError, match=r"a batch of 32 over 1 devices cannot be cut into 3"):
        tiny.experiment(task={"accumulate_steps": 3})
    with pytest.raises(UserError, match=r"a batch of 30 does not divide over 8 devices"):
        tiny.experiment(loader={"batch_size": 30}, parallel={"num_devices": 8})


def test_blank_batch_has_the_shapes_of_a_real_one():
    experiment = tiny.experiment()
    batches = experiment.train_batches(0)
    real = next(batches)
    batches.close()
    blank = experiment.blank_batch(32)
    assert real.keys() == blank.keys()
    for name in real:
        assert (real[name].shape, real[name].dtype) == (blank[name].shape, blank[name].dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_takes_images_of_the_computation_and_no_weights(dtype):
    experiment = tiny.experiment(model={"name": "resnet_test", "dtype": dtype})
    with contextlib.closing(experiment.train_batches(0)) as batches:
        real = next(batches)
    taken = experiment.for_step(real)
    assert set(taken) == {"image", "label"}
    assert taken["image"].dtype == dtype
    np.testing.assert_array_equal(taken["image"], real["image"].astype(taken["image"].dtype))


def test_evaluation_batches_fill_up_to_what_devices_share():
    experiment = tiny.experiment(evaluation={"batch_size": 7}, parallel={"num_devices": 8})
    batches = list(experiment.eval_batches())
    assert {len(batch["label"]) for batch in batches} == {8}
    assert sum(batch["weight"].sum() for batch in batches) == 1000


def test_without_data_there_are_no_batches():
    experiment = tiny.experiment()._replace(sources=None)
    with pytest.raises(ValueError, match="without its data"):
        experiment.train_batches(0)


def test_learning_rate_is_that_of_the_schedule():
    experiment = tiny.experiment(
        optimizer={"learning_rate": 0.5},
        schedule={"name": "linear", "warmup_epochs": 0.0, "end_factor": 0.0},
        train={"num_steps": 10},
    )
    found = [experiment.learning_rate(step) for step in (0, 5, 10)]
    np.testing.assert_allclose(found, [0.5, 0.25, 0.0], atol=1e-7)


GROWING = {"sizes_px": [16, 28], "from_epochs": [0, 2]}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "mlp_test"}, r"mlp_test cannot take the images of 16 pixels of by_epoch"),
        ({"name": "lenet_test"}, r"lenet_test cannot take .* its input size is fixed"),
        ({"name": "vit_test", "patch_size": 4}, r"override position_grid .* to have it resampled"),
        ({"name": "vit_test", "patch_size": 7}, r"16x16 are no whole number of 7-pixel patches"),
        ({"name": "vit_test", "patch_size": 4, "position_grid": [7, 7]}, None),
        ({"name": "resnet_test"}, None),
    ],
)
def test_sizes_that_the_model_cannot_take_are_refused_before_training(model, message):
    experiment = tiny.experiment(model=model, by_epoch=GROWING)
    if message is None:
        experiment.check_sizes()
        return
    with pytest.raises(UserError, match=message):
        experiment.check_sizes()


def test_images_on_the_devices_have_one_size_and_may_flip_by_turns():
    still = {"rotate_degrees": 0.0, "shift_fraction": 0.0, "scale_fraction": 0.0}
    sections = {"augment": still, "resident": {"enabled": True}}
    assert tiny.experiment(**sections).resident is not None
    resident = tiny.experiment(**sections, by_epoch={"alternate_flips": True}).resident
    assert resident is not None
    assert resident.alternate_flips
    with pytest.raises(UserError, match=r"have one size; leave by_epoch.sizes_px empty"):
        tiny.experiment(**sections, by_epoch=GROWING)
    with pytest.raises(UserError, match=r"not changed by the section policy"):
        tiny.experiment(**sections, filters={"blur_rate": 0.5})
    with pytest.raises(UserError, match=r"have one scale; leave scale_jitter.shorter_px empty"):
        tiny.experiment(**sections, scale_jitter={"shorter_px": (32, 40)})


def test_without_other_sizes_nothing_is_tried(monkeypatch):
    experiment = tiny.experiment(by_epoch={"sizes_px": [28], "from_epochs": [0]})
    monkeypatch.setattr(experiments.Experiment, "abstract_state", None)
    experiment.check_sizes()


def test_impossible_views_are_refused_before_training():
    with pytest.raises(UserError, match=r"unknown evaluation.views 'flipp'; did you mean 'flip'"):
        tiny.experiment(evaluation={"views": "flipp"})
    with pytest.raises(UserError, match=r"preprocess\.crop_fraction is 1"):
        tiny.experiment(evaluation={"views": "ten_crop"})


def test_views_reach_evaluation_and_its_examination():
    views = tiny.experiment(
        evaluation={"views": "ten_crop", "batch_size": 500}, preprocess={"crop_fraction": 0.875}
    )
    first = next(views.eval_batches())
    assert first["image"].shape == (500, 10, 28, 28, 1)
    carry = train.blank_carry(views)
    metrics = train.make_evaluate(views)(carry.state)
    found = views.examine(carry.state, 0)
    assert found.num_examples == found.confusion.sum() == 1000
    assert metrics["eval/accuracy"] == pytest.approx(found.metrics["accuracy"], abs=1e-6)
    assert metrics["eval/loss"] == pytest.approx(found.metrics["loss"], rel=1e-5)


def test_a_config_that_is_older_than_a_section_or_key_has_its_defaults():
    config = tiny.config()
    del config["by_epoch"], config["evaluation"]["views"]
    experiment = experiments.build(config)
    assert experiment.augment().sizes_px == (28,)
    assert next(experiment.eval_batches())["image"].ndim == 4
    known = experiments.defaults()
    assert known["by_epoch.sizes_px"] == known["data.options.masks.class_names"] == []


@pytest.mark.parametrize(
    "parts",
    [
        {
            "sharpness": {"rho": 0.05},
            "rates": {"factors": ["bias=2"], "trained_epochs": ["logits/bias=0.02"]},
            "ema": {"decay": 0.5, "every_steps": 2, "write_back": True, "ramp": "cubic"},
            "task": {"loss": "sigmoid", "accumulate_steps": 2},
            "optimizer": {"name": "lars"},
        },
        {"schedule_free": {"b1": 0.9}, "ema": {"decay": 0.0}, "schedule": {"name": "constant"}},
    ],
)
def test_a_run_with_the_parts_of_recipes_goes_on_to_the_bit(parts, tmp_path):
    experiment = tiny.experiment(model={"name": "mlp_test"}, **parts)
    batches = experiment.train_batches(0)
    batches = [experiment.for_step(next(batches)) for _ in range(4)]
    step = jax.jit(experiment.task.step)
    state = jax.jit(experiment.task.init)(jax.random.key(0), batches[0])
    options = {"keep_last": 1, "keep_best": 0, "best_metric": "", "best_mode": "max"}
    for index, batch in enumerate(batches):
        if index == 2:
            with Checkpoints(tmp_path, print, **options) as checkpoints:
                checkpoints.save(2, state, None)
        state, _ = step(state, batch, jax.random.key(index))
    shapes = experiment.strategy.abstract(state)
    with Checkpoints(tmp_path, print, **options) as checkpoints:
        _, resumed = checkpoints.restore(shapes)
    for index in (2, 3):
        resumed, _ = step(resumed, batches[index], jax.random.key(index))
    assert int(resumed.step) == 4
    jax.tree.map(np.testing.assert_array_equal, resumed, state)


def test_two_averages_are_refused():
    with pytest.raises(UserError, match=r"schedule_free\.b1 evaluates an average of its own"):
        tiny.experiment(schedule_free={"b1": 0.9})
