"""The examination of a split, against a loop over single examples."""

import math
import tracemalloc

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.evaluators.classification import NUM_MISTAKES, examine, log_softmax

NAMES = ("ant", "bee", "cat")


class Pictures:
    """Example i is a picture full of i, and is counted when it is looked at."""

    def __init__(self):
        self.seen = []

    def __getitem__(self, index, /):
        self.seen.append(index)
        return {"image": np.full((2, 2, 1), index % 256, np.uint8), "label": 0}


def split(count, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)).astype(np.float32) * 3
    return logits, rng.integers(0, 3, count).astype(np.int32)


def batches_of(logits, labels, batch_size):
    """Batches whose images carry the logits; padding is NaN and of a class that is not there."""
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        missing = batch_size - len(labels[part])
        yield {
            "image": np.pad(logits[part], ((0, missing), (0, 0)), constant_values=np.nan),
            "label": np.pad(labels[part], (0, missing), constant_values=77),
            "weight": np.pad(np.ones(len(labels[part]), np.float32), (0, missing)),
        }


def measured(logits, labels, batch_size=16, examples=None):
    return examine(
        lambda batch: {"logits": batch["image"]},
        batches_of(logits, labels, batch_size),
        Pictures() if examples is None else examples,
        NAMES,
        step=42,
    )


def test_metrics_and_confusion_are_those_of_a_loop():
    logits, labels = split(50)
    found = measured(logits, labels)
    loss, right, confusion = 0.0, 0, np.zeros((3, 3), int)
    for row, label in zip(logits.astype(float), labels, strict=True):
        probabilities = [math.exp(x) / sum(math.exp(y) for y in row) for x in row]
        loss -= math.log(probabilities[label]) / 50
        guess = max(range(3), key=lambda k: row[k])
        right += guess == label
        confusion[label, guess] += 1
    assert found.metrics == pytest.approx({"loss": loss, "accuracy": right / 50})
    np.testing.assert_array_equal(found.confusion, confusion)
    assert found.confusion.sum() == found.num_examples == 50
    assert (found.step, found.class_names) == (42, NAMES)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_the_batch_size_changes_nothing(batch_size):
    logits, labels = split(50)
    one, other = measured(logits, labels, 50), measured(logits, labels, batch_size)
    assert other.metrics == pytest.approx(one.metrics, rel=1e-12)
    np.testing.assert_array_equal(other.confusion, one.confusion)
    assert [m.index for m in other.mistakes] == [m.index for m in one.mistakes]


def test_mistakes_are_the_surest_first_with_their_pictures():
    logits, labels = split(300)
    pictures = Pictures()
    found = measured(logits, labels, examples=pictures)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    wrong = [i for i in range(300) if logits[i].argmax() != labels[i]]
    surest = sorted(wrong, key=lambda i: -probabilities[i].max())[:NUM_MISTAKES]
    assert len(wrong) > NUM_MISTAKES == len(found.mistakes)
    assert [mistake.index for mistake in found.mistakes] == surest
    for mistake in found.mistakes:
        index = mistake.index
        assert mistake.true == NAMES[labels[index]]
        assert mistake.predicted == NAMES[logits[index].argmax()]
        assert mistake.probability == pytest.approx(probabilities[index].max())
        np.testing.assert_array_equal(mistake.image, np.full((2, 2, 1), index % 256))
    # Pictures are decoded once more, so only of those that are shown.
    assert sorted(pictures.seen) == sorted(surest)


def test_equally_sure_mistakes_come_in_the_order_of_the_split():
    logits = np.tile(np.asarray([[4.0, 0.0, 0.0]], np.float32), (30, 1))
    found = measured(logits, np.ones(30, np.int32))
    assert [mistake.index for mistake in found.mistakes] == list(range(NUM_MISTAKES))


def test_no_mistake_is_no_mistake():
    found = measured(10 * np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32))
    assert found.mistakes == ()
    assert found.metrics["accuracy"] == 1.0


def test_a_model_that_gives_nan_is_shown_as_that():
    logits, labels = split(5)
    logits[2] = np.nan
    found = measured(logits, labels)
    assert math.isnan(found.metrics["loss"])
    assert found.confusion.sum() == 5


@pytest.mark.parametrize("batches", [[], list(batches_of(np.zeros((0, 3)), np.zeros(0, int), 4))])
def test_a_split_without_examples_is_one_line(batches):
    with pytest.raises(UserError, match="the evaluation split has no examples"):
        examine(lambda batch: {"logits": batch["image"]}, batches, Pictures(), NAMES, step=1)


def test_a_batch_of_nothing_but_padding_changes_nothing():
    logits, labels = split(8)
    padding = {
        "image": np.full((4, 3), np.nan, np.float32),
        "label": np.zeros(4, np.int32),
        "weight": np.zeros(4, np.float32),
    }
    batches = [*batches_of(logits, labels, 4), padding]
    found = examine(lambda batch: {"logits": batch["image"]}, batches, Pictures(), NAMES, step=42)
    assert found.metrics == measured(logits, labels, 4).metrics
    only = [padding, padding]
    with pytest.raises(UserError, match="has no examples"):
        examine(lambda batch: {"logits": batch["image"]}, only, Pictures(), NAMES, step=42)


def test_log_softmax_neither_overflows_nor_loses_digits():
    logits = np.asarray([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = log_softmax(logits)
    np.testing.assert_allclose(found[0], [0.0, -1e4, -2e4])
    np.testing.assert_allclose(found[1], -math.log(3))
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1.0)


def test_memory_does_not_grow_with_the_logits_of_the_split():
    # 50 batches of 1 MB; ImageNet's 50,000 x 1,000 would not fit if all were kept.
    def batches():
        for _ in range(50):
            yield {
                "image": np.zeros((250, 1000), np.float32),
                "label": np.zeros(250, np.int32),
                "weight": np.ones(250, np.float32),
            }

    names = tuple(map(str, range(1000)))
    tracemalloc.start()
    try:
        found = examine(lambda b: {"logits": b["image"]}, batches(), Pictures(), names, step=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.metrics["loss"] == pytest.approx(math.log(1000))
    assert found.num_examples == 12_500
    assert peak < 25e6
