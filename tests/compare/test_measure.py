"""Predictions, changed images and memory of a run, against plain loops."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import experiment as experiments
from cnn import train
from cnn.compare import measure, settings
from cnn.compare.corruptions import Condition
from cnn.compare.settings import Robustness
from cnn.errors import UserError
from tests.compare import small

ASKED = Robustness((3,), (), (), (), (14, 21), 40)


@pytest.fixture(scope="module")
def made():
    found = {}
    for name, recipe in settings.read(small.config()).recipes.items():
        built = experiments.build(recipe)
        found[name] = built, train.blank_carry(built).state
    return found


@pytest.fixture(scope="module")
def measured(made):
    return {
        name: measure.measure_run(built, state, 5, ASKED, 28)
        for name, (built, state) in made.items()
    }


def logits(built, state, images):
    batch = {"image": jnp.stack(images)}
    return np.asarray(built.task.predict(state, batch)["logits"], np.float64)


def test_predictions_are_those_of_single_examples(made, measured):
    built, state = made["cnn"]
    found = measured["cnn"].predictions
    assert len(found.label) == 1000
    places = [0, 7, 499, 999]
    examples = [built.sources.eval[i] for i in places]
    assert found.label[places].tolist() == [example["label"] for example in examples]
    view = built.preprocess()
    own = logits(built, state, [view(example["image"]) for example in examples])
    probabilities = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    assert found.predicted[places].tolist() == own.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.confidence[places], probabilities.max(axis=1), rtol=1e-5)
    right = probabilities[range(4), found.label[places]]
    np.testing.assert_allclose(found.loss[places], -np.log(right), rtol=1e-5)


def test_changed_images_are_those_of_an_even_part(made, measured):
    from cnn.compare.corruptions import make_view

    built, state = made["vit"]
    places = np.linspace(0, 999, 40).round().astype(int)
    examples = [built.sources.eval[int(i)] for i in places]
    labels = np.array([example["label"] for example in examples])
    # Of all ten digits, though the split is sorted by them.
    assert len(set(labels)) == 10
    for condition, accuracy in measured["vit"].robustness:
        view = make_view(condition, built.preprocess(), 28)
        own = logits(built, state, [view(example["image"]) for example in examples])
        assert accuracy == pytest.approx((own.argmax(axis=1) == labels).mean())


def test_sizes_that_a_model_cannot_take_are_none(measured):
    found = dict(measured["cnn"].robustness)
    assert found[Condition("size", 14.0)] is None
    assert found[Condition("shift", 3.0)] is not None
    # Two and three patches of seven pixels: positions without parameters.
    found = dict(measured["vit"].robustness)
    assert None not in found.values()


def test_what_is_saved_is_loaded(measured, tmp_path):
    assert measure.load_measured(tmp_path) is None
    assert not measure.is_measured(tmp_path, 5, ASKED)
    measure.save_measured(tmp_path, measured["cnn"])
    found = measure.load_measured(tmp_path)
    assert found.robustness == measured["cnn"].robustness
    for name, array in measured["cnn"].predictions._asdict().items():
        np.testing.assert_array_equal(getattr(found.predictions, name), array)
    assert measure.is_measured(tmp_path, 5, ASKED)
    assert not measure.is_measured(tmp_path, 6, ASKED)
    assert not measure.is_measured(tmp_path, 5, ASKED._replace(shifts_px=(2,)))
    assert not measure.is_measured(tmp_path, 5, ASKED._replace(num_examples=0))


def test_a_damaged_file_is_one_line(measured, tmp_path):
    measure.save_measured(tmp_path, measured["cnn"])
    content = json.loads((tmp_path / measure.MEASURED).read_text())
    (tmp_path / measure.MEASURED).write_text(json.dumps({"step": content["step"]}))
    with pytest.raises(UserError, match=r"measured.json is damaged .*; delete it"):
        measure.load_measured(tmp_path)


def test_memory_holds_the_state_and_is_not_compiled_again(made, monkeypatch):
    built, state = made["cnn"]
    step = train.make_step(built.task, built.strategy, built.resident)
    _, tally = train.blank_carry(built)
    key = built.strategy.share(jax.random.key(0))
    feed = built.feed(0)
    block, _ = feed.take(1, tally)
    copy = jax.tree.map(lambda x: x.copy(), state)
    step(copy, tally, block, key, *feed.shared)
    feed.close()
    compiled = []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        found = measure.step_bytes(built, state)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
    assert found > sum(x.nbytes for x in jax.tree.leaves(state.params))
    assert found < 1e9
