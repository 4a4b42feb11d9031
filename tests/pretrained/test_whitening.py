"""The first kernel from training images, as a run gets it."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.pretrained import facts, whitening
from tests import tiny

STEM = ("params", "backbone", "stem_conv", "kernel")


def experiment(num_images=50, **sections):
    return tiny.experiment(
        **{
            "model": {"name": "airbench_test", "activation": "gelu", "train_frozen": False},
            "whitening": {"num_images": num_images},
            "preprocess": {"image_size": 32},
            **sections,
        }
    )


@pytest.fixture(scope="module")
def run():
    return experiment()


def test_the_kernel_whitens_images_spread_over_the_training_part(run):
    initial = run.initial()
    source, see = run.sources.train, run.preprocess()
    images = np.stack([see(source[i * len(source) // 50]["image"]) for i in range(50)])
    expected = models.whitening_kernel(jnp.asarray(images), name="airbench_test")
    np.testing.assert_array_equal(initial.values[STEM], expected)
    assert (
        initial.values[STEM].shape
        == run.abstract_state().params["backbone"]["stem_conv"]["kernel"].shape
    )


def test_every_array_is_in_the_report(run):
    report = run.initial().report
    assert report.adapted == {"/".join(STEM): "whitens their patches"}
    assert "params/head/logits/kernel" in report.missing
    assert "batch_stats/backbone/group0/norm0/mean" in report.missing
    assert report.headline().startswith("0 arrays loaded from 50 training images; 1 adapted")


def test_off_is_nothing(run):
    assert experiment(num_images=0).initial() is None


def test_a_family_that_trains_its_first_kernel_is_refused():
    run = tiny.experiment(whitening={"num_images": 10})
    with pytest.raises(
        UserError, match=r"resnet_test is of the family 'resnet', which trains .*airb"
    ):
        run.initial()


def test_what_cannot_be_is_refused(run):
    known = facts.of_config(run.config, run.facts.class_names)

    def whiten(initial, num_images):
        state = run.abstract_state()
        return whitening.whiten(initial, state, known, lambda n: None, num_images=num_images)

    with pytest.raises(UserError, match=r"whitening\.num_images must be at least 0, got -1"):
        whiten(None, -1)
    with pytest.raises(UserError, match=r"init\.weights='50 training images' brings a first kern"):
        whiten(run.initial(), 50)
