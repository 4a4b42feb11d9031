"""Segmentation on the loop: over devices as on one, and resumed as unbroken."""

import io
import json

import jax
import numpy as np
import pytest
import rich.console

from cnn import experiment as experiments
from cnn import train
from cnn.report.console import Console
from cnn.report.log import read_metrics
from configs.scenes import unet

SMALL = {
    "preprocess": {"image_size": 32},
    "data": {"options": {"scenes": {"size_px": 32, "num_train": 32, "num_eval": 10}}},
    "model": {"widths": (4, 8)},
    "loader": {"batch_size": 8, "num_threads": 1},
    "evaluation": {"batch_size": 8},
    "schedule": {"name": "constant", "warmup_epochs": 0.0},
    # Adam's first steps have the size of the rate however small a gradient and its rounding are.
    "optimizer": {"name": "sgd", "learning_rate": 0.02},
    "parallel": {"num_devices": 1},
}


def merged(values, changes):
    """The config with the changes, section by section."""
    for key, change in changes.items():
        within = isinstance(change, dict) and isinstance(values.get(key), dict)
        values[key] = merged(values[key], change) if within else change
    return values


def run(directory, num_steps=4, **parallel):
    """Trains in the directory; the experiment."""
    config = json.loads(json.dumps(unet.get_config().to_dict()))
    cadence = {
        "num_steps": num_steps,
        "log_every_steps": 1,
        "eval_every_steps": num_steps,
        "checkpoint_every_steps": 2,
    }
    changes = json.loads(json.dumps([SMALL, {"train": cadence, "parallel": parallel}]))
    for change in changes:
        merged(config, change)
    experiment = experiments.build(config)
    screen = rich.console.Console(file=io.StringIO(), width=200)
    with Console(num_steps, experiment.steps_per_epoch, log_every_steps=1, screen=screen) as shown:
        train.train(experiment, directory, shown)
    return experiment


def lines(directory):
    """What was measured, without what differs between equal runs."""
    return [
        {name: value for name, value in line.items() if not name.startswith("perf/")}
        for line in read_metrics(directory)
    ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(directory of a run of one device, its experiment)."""
    directory = tmp_path_factory.mktemp("unbroken")
    return directory, run(directory)


@pytest.mark.parametrize("parallel", [{"strategy": "mesh"}, {"strategy": "pmap"}])
def test_eight_devices_measure_what_one_does(unbroken, tmp_path, parallel):
    directory, _ = unbroken
    run(tmp_path, **parallel, num_devices=8)
    alone, shared = lines(directory), lines(tmp_path)
    assert [line.keys() for line in alone] == [line.keys() for line in shared]
    for one, other in zip(alone, shared, strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    moved = [line["train/loss"] for line in alone if "train/loss" in line]
    assert np.ptp(moved) > 1e-3, "the model must have moved for this to mean anything"


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(unbroken, tmp_path):
    directory, experiment = unbroken
    run(tmp_path, num_steps=2)
    run(tmp_path, num_steps=4)

    def measured(found):
        return [line for line in lines(found) if "train/loss" in line]

    def saved(found):
        carry = train.blank_carry(experiment)
        with train.open_checkpoints(experiment, found, lambda _: None) as checkpoints:
            step, carry = train.restore(experiment, checkpoints, carry)
        assert step == 4
        return jax.tree.map(np.asarray, jax.device_get(carry))

    assert measured(tmp_path) == measured(directory)
    for left, right in zip(*map(jax.tree.leaves, (saved(directory), saved(tmp_path))), strict=True):
        np.testing.assert_array_equal(left, right)
