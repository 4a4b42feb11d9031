"""Generators whose state holds more than networks, under `pmap`: replicas do not part."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import experiment as experiments
from cnn import models, train
from cnn.cli import config_file
from cnn.tasks.pix2pix import halves

ROOT = pathlib.Path(__file__).parents[2]
REPLICAS, BATCH = 2, 8
SHARED = {
    "loader.batch_size": BATCH,
    "parallel.strategy": "pmap",
    "parallel.num_devices": REPLICAS,
    "schedule.name": "constant",
    "train.num_steps": 3,
}


def experiment_of(path, **values):
    """As small as it can be: it is compiling that takes the time."""
    words = [f"--config.{key}={value}" for key, value in {**SHARED, **values}.items()]
    return experiments.build(config_file.read(str(ROOT / "configs" / path), words))


def ran(experiment, directory):
    """States and metrics on the host, replica by replica: before three steps, and after each.

    What goes on from a checkpoint of the second step is the same, bit for bit.
    """
    carry = train.blank_carry(experiment)
    step = train.make_step(experiment.task, experiment.strategy)
    key = experiment.strategy.share(jax.random.key(1))
    batches = list(zip(range(3), experiment.train_batches(0), strict=False))
    found = [jax.device_get(carry)]
    for index, batch in batches:
        laid_out = experiment.strategy.put(experiment.for_step(batch))
        carry = train.Carry(*step(*carry, laid_out, key))
        found.append(jax.device_get(carry))
        if index == 1:
            with train.open_checkpoints(experiment, directory, lambda _: None) as checkpoints:
                checkpoints.save(2, experiment.strategy.pack(carry), None)
                checkpoints.wait()
                _, restored = train.restore(experiment, checkpoints, carry)
    again = jax.device_get(train.Carry(*step(*restored, laid_out, key)))
    jax.tree.map(np.testing.assert_array_equal, again, found[-1])
    return found, batches[0][1]


def assert_one_state(carry):
    for place, leaf in jax.tree_util.tree_flatten_with_path(carry)[0]:
        message = jax.tree_util.keystr(place)
        np.testing.assert_array_equal(leaf[1:], leaf[:-1], err_msg=message)


def test_the_pools_of_cyclegan_have_the_images_of_all_replicas(tmp_path):
    experiment = experiment_of(
        "cyclegan.py",
        **{
            "data.source": "outlines",
            "preprocess.image_size": 16,
            "preprocess.channels": 2,
            "augment.crop_area_min": 0.0,
            "model.name": "cyclegan_test",
            # The third batch finds it full and takes from it.
            "task.pool_size": 2 * BATCH,
        },
    )
    found, batch = ran(experiment, tmp_path)
    for carry in found:
        assert_one_state(carry)
    assert [carry.state.pools["b"].held[0] for carry in found] == [0, 8, 16, 16]
    full, later = (carry.state.pools["b"].images[0] for carry in found[2:])
    assert 0 < (full != later).any(axis=(1, 2, 3)).sum() <= BATCH
    # Nothing is drawn until then: what one device would make of the whole batch.
    params = jax.tree.map(lambda x: x[0], found[0].state.generator.params["a_to_b"])
    generator = models.generator("cyclegan_test").generator
    made = jax.jit(generator.apply)({"params": params}, halves(jnp.asarray(batch["image"]))[0])
    np.testing.assert_allclose(full[:BATCH], made, rtol=1e-4, atol=1e-5)


def test_the_average_path_length_is_that_of_all_replicas(tmp_path):
    experiment = experiment_of(
        "mnist5k/stylegan2.py",
        **{
            "preprocess.image_size": 8,
            "model.image_size": 8,
            "model.name": "stylegan2_test",
            "model.width_max": 2,
            "model.latent_size": 4,
            "model.mapping_depth": 1,
            "task.r1_weight": 0.0,
            "task.path_every_steps": 2,
        },
    )
    found, _ = ran(experiment, tmp_path)
    for carry in found:
        assert_one_state(carry)
    averages = [carry.state.generator.model_state["path"]["average"][0] for carry in found]
    totals = [float(carry.tally.metrics["path_length"].total[0]) for carry in found]
    # Of half of the images, in the first step and in the third.
    assert averages[1] == pytest.approx(0.01 * totals[1] / (BATCH / 2), rel=1e-5)
    assert averages[2] == averages[1]
    third = (totals[3] - totals[2]) / (BATCH / 2)
    assert averages[3] - averages[2] == pytest.approx(0.01 * (third - averages[2]), rel=1e-4)
