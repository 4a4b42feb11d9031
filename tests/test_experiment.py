"""From a config to the parts of a run."""

import numpy as np
import pytest

from cnn import experiment as experiments
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
