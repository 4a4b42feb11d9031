"""Several views of an image: probabilities are averaged, padding weighs nothing, devices agree."""

import jax
import numpy as np
import pytest
from scipy.special import softmax

from cnn import models, parallel
from cnn.tasks.views import over_views
from tests.tasks.small import batch_of, evaluate, init, predict, values
from tests.tasks.test_classification import Linear, make

BATCH = batch_of(count=8)
VIEWS = np.random.default_rng(1).normal(size=(8, 3, 4, 4, 1)).astype(np.float32)


def test_probabilities_are_the_mean_of_those_of_the_views():
    task = make(Linear())
    state = init(task, BATCH)
    each = [predict(task, state, {**BATCH, "image": VIEWS[:, i]})["logits"] for i in range(3)]
    want = np.mean([softmax(np.asarray(logits, np.float64), axis=-1) for logits in each], axis=0)
    got = predict(task, state, {**BATCH, "image": VIEWS})
    np.testing.assert_allclose(got["probabilities"], want, rtol=1e-5)
    metrics = values(evaluate(task, state, {**BATCH, "image": VIEWS}))
    labels = np.asarray(BATCH["label"])
    assert metrics["loss"] == pytest.approx(-np.log(want[np.arange(8), labels]).mean(), rel=1e-5)
    assert metrics["accuracy"] == (want.argmax(-1) == labels).mean()
    # It is neither the mean of the logits nor one of the views.
    others = [np.mean(each, axis=0), *each]
    assert all(np.abs(softmax(np.asarray(x), axis=-1) - want).max() > 1e-3 for x in others)


def test_padding_weighs_nothing_whatever_its_views():
    task = make(Linear())
    state = init(task, BATCH)
    weight = np.array([1, 1, 1, 0, 1, 0, 1, 1], np.float32)
    spoilt = VIEWS.copy()
    spoilt[weight == 0] = np.nan
    got = values(evaluate(task, state, {**BATCH, "image": spoilt, "weight": weight}))
    some = {name: np.asarray(x)[weight > 0] for name, x in {**BATCH, "image": VIEWS}.items()}
    assert got == pytest.approx(values(evaluate(task, state, some)), rel=1e-6)


@pytest.mark.parametrize("strategy", ["mesh", "pmap"])
def test_devices_share_examples_not_views(strategy):
    over = parallel.make_strategy(strategy=strategy, num_devices=4)
    task = make(models.classifier("resnet_test", num_classes=5))
    views = np.random.default_rng(1).normal(size=(8, 2, 16, 16, 3)).astype(np.float32)
    batch = {**batch_of(shape=(16, 16, 3)), "image": views}
    state = init(task, batch_of(shape=(16, 16, 3)))
    want = predict(task, state, batch)["probabilities"]
    laid_out = over.unpack(state)
    got = over.fetch_examples(over.predict(task.predict)(laid_out, over.put(batch)))
    np.testing.assert_allclose(got["probabilities"], want, rtol=2e-5)


def test_one_view_is_the_network_itself():
    images = jax.numpy.asarray(VIEWS[:, 0])
    np.testing.assert_array_equal(over_views(lambda x: x[:, 0, :, 0], images), images[:, 0, :, 0])
