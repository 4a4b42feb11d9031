import itertools
from collections import Counter

import numpy as np
import pytest

from cnn.data.cache import Cached
from cnn.data.contract import ArraySource, SourceInfo, ids_of, labels_of, parts_of
from cnn.data.faults import Skipping, faults_of
from cnn.data.pipeline import Host, train_batches
from cnn.data.proposals import Proposed
from cnn.data.sampling import (
    Concatenation,
    Mapped,
    Subset,
    balanced_weights,
    make_sampling,
    shared_weights,
    spread_out,
    stratified,
    weighted_draws,
)
from cnn.errors import UserError


def numbered(labels, name="numbered", names=("a", "b", "c")) -> ArraySource:
    """Example i is full of i."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return ArraySource(images, np.asarray(labels), SourceInfo(name, names))


SKEWED = numbered([0] * 80 + [1] * 15 + [2] * 5)


def epoch(source, number=0, batch_size=10, **options):
    """The examples that an epoch draws, in order, and their labels."""
    steps = len(source) // batch_size
    batches = train_batches(
        source,
        lambda image, rng: image + 0.5 * rng.random(image.shape, np.float32),
        batch_size=batch_size,
        seed=0,
        start_step=number * steps,
        **options,
    )
    taken = list(itertools.islice(batches, steps))
    values = np.concatenate([batch["image"] for batch in taken])[:, 0, 0, 0]
    return values, np.concatenate([batch["label"] for batch in taken])


def test_the_default_draws_each_example_once() -> None:
    values, _ = epoch(make_sampling(SKEWED))
    assert sorted(values.astype(int).tolist()) == list(range(100))


def test_balance_draws_classes_equally_and_all_examples_in_time() -> None:
    source = make_sampling(SKEWED, balance=1.0)
    counts, seen = Counter(), set()
    for number in range(12):
        values, labels = epoch(source, number)
        counts.update(labels.tolist())
        seen |= set(values.astype(int).tolist())
        # A hundred draws to three classes: 33 or 34 of each.
        assert set(Counter(labels.tolist()).values()) <= {33, 34}
    assert seen == set(range(100))
    half = Counter(epoch(make_sampling(SKEWED, balance=0.5))[1].tolist())
    total = sum(np.sqrt([80, 15, 5]))
    for label, size in enumerate((80, 15, 5)):
        assert abs(half[label] - 100 * np.sqrt(size) / total) <= 1


def test_weighted_draws_are_in_proportion() -> None:
    weights = np.array([2.3, 0.3, 1.4, 0.0, 1.0])
    drawn = np.stack([np.bincount(weighted_draws(weights, 0, e), minlength=5) for e in range(2000)])
    assert set(drawn[:, 0]) == {2, 3}
    assert set(drawn[:, 1]) == {0, 1}
    assert not drawn[:, 3].any()
    # A share of 0.3 in 2,000 epochs: five standard errors are 0.05.
    np.testing.assert_allclose(drawn.mean(0), weights, atol=0.052)
    assert (drawn.sum(1) == 5).all()
    np.testing.assert_array_equal(weighted_draws(np.ones(7), 3, 4), np.arange(7))


def test_repeats_come_in_a_row_with_other_augmentation() -> None:
    values, labels = epoch(make_sampling(SKEWED, repeats=3), batch_size=10)
    index = values.astype(int)
    assert (index[0:99:3] == index[1:99:3]).all()
    assert (index[0:99:3] == index[2:99:3]).all()
    assert len(set(index.tolist())) == 34
    assert len(np.unique(values)) == 100
    np.testing.assert_array_equal(labels, SKEWED.labels[index])
    assert set(epoch(make_sampling(SKEWED, repeats=3), 1)[0].astype(int)) != set(index.tolist())


def test_faults_are_known_whatever_is_drawn() -> None:
    source = make_sampling(SKEWED, repeats=2, balance=1.0)
    assert faults_of(source) is not None
    assert faults_of(make_sampling(SKEWED, on_error="raise")) is None


@pytest.mark.parametrize("options", [{"balance": 1.0}, {"repeats": 3}, {"fraction": 0.5}])
def test_hosts_and_threads_change_nothing(options) -> None:
    want, _ = epoch(make_sampling(SKEWED, **options), 2, num_threads=0)
    got, _ = epoch(make_sampling(SKEWED, **options), 2, num_threads=3)
    np.testing.assert_array_equal(got, want)
    halves = [
        epoch(make_sampling(SKEWED, **options), 2, host=Host(i, 2))[0].reshape(-1, 5)
        for i in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves, 1).ravel(), want)


def test_a_fraction_is_of_each_class_and_nested() -> None:
    small, large = (make_sampling(SKEWED, fraction=f) for f in (0.1, 0.6))
    assert [len(small), len(large)] == [8 + 2 + 1, 48 + 9 + 3]
    chosen = [{int(s[i]["image"][0, 0, 0]) for i in range(len(s))} for s in (small, large)]
    assert chosen[0] < chosen[1]
    np.testing.assert_array_equal(labels_of(small), [small[i]["label"] for i in range(len(small))])
    assert len(set(stratified(np.zeros((10, 2), np.float32), 0.3).tolist())) == 3


def test_a_subset_has_its_indices_in_their_order() -> None:
    part = Subset(SKEWED, [99, 0, 99])
    assert len(part) == 3
    assert [int(part[i]["image"][0, 0, 0]) for i in range(3)] == [99, 0, 99]
    assert part.labels.tolist() == [2, 0, 2]
    assert ids_of(part) == ["99", "0", "99"]


def test_what_is_known_of_a_source_is_known_of_those_over_it() -> None:
    whole = Concatenation(numbered([0, 1], "one"), numbered([2], "two"))
    layers = (
        Cached(whole, max_bytes=0),
        Skipping(whole),
        Mapped(whole, lambda example: example),
        Proposed(whole, {}),
        make_sampling(whole, repeats=2),
    )
    for source in layers:
        assert source.info == whole.info
        assert labels_of(source).tolist() == [0, 1, 2]
        assert parts_of(source).tolist() == [0, 0, 1]
        assert ids_of(source) == ("0", "1", "2")
        assert (len(source), source[2]["label"]) == (3, 2)


def test_a_concatenation_is_one_source_behind_the_other() -> None:
    parts = [numbered([0, 1], "one"), numbered([2], "two"), numbered([1, 1, 0], "three")]
    whole = Concatenation(*parts)
    assert len(whole) == 6
    assert whole.info.name == "one + two + three"
    assert whole.labels.tolist() == [0, 1, 2, 1, 1, 0]
    assert [whole[i]["label"] for i in range(6)] == [0, 1, 2, 1, 1, 0]
    assert [int(whole[i]["image"][0, 0, 0]) for i in range(6)] == [0, 1, 0, 0, 1, 2]
    assert parts_of(whole).tolist() == [0, 0, 1, 2, 2, 2]
    assert parts_of(Subset(whole, [5, 0])).tolist() == [2, 0]
    assert parts_of(parts[0]).tolist() == [0, 0]


def test_classes_are_put_together_by_name() -> None:
    first, fewer = numbered([0, 1, 2]), numbered([0, 1, 1], "fewer", ("c", "a"))
    whole = Concatenation(first, fewer)
    assert whole.info.class_names == ("a", "b", "c")
    assert whole.labels.tolist() == [0, 1, 2, 2, 0, 0]
    assert [whole[i]["label"] for i in range(6)] == whole.labels.tolist()
    with pytest.raises(UserError, match="fewer and numbered cannot be one data set"):
        Concatenation(fewer, first)


def test_weights_are_shares_of_the_parts_however_large() -> None:
    whole = Concatenation(numbered([0] * 10 + [1] * 10), numbered([2] * 60 + [0] * 20))
    source = make_sampling(whole, weights=(3.0, 1.0))
    counts = Counter()
    for number in range(4):
        counts.update(epoch(source, number)[1].tolist())
    # Three quarters of 400 draws from the first 20 examples, half of them of each class.
    assert abs(counts[1] - 150) <= 4
    assert abs(counts[2] - 75) <= 4
    assert abs(counts[0] - 175) <= 4
    shares = shared_weights(parts_of(whole), balanced_weights(whole.labels, 1.0), (2.0, 1.0))
    np.testing.assert_allclose([shares[:20].sum(), shares[20:].sum()], [2, 1])
    np.testing.assert_allclose(shares[10] / shares[0], 30 / 10)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, 2.0, 3.0), (1.0, float("nan"))])
def test_weights_that_do_not_fit_are_refused(weights) -> None:
    whole = Concatenation(numbered([0, 1]), numbered([2]))
    with pytest.raises(UserError, match=r"sampling.weights takes 2 number\(s\) above 0, one for"):
        make_sampling(whole, weights=weights)


def test_labels_are_read_where_a_source_does_not_know_them() -> None:
    class Plain:
        info = SKEWED.info

        def __len__(self):
            return len(SKEWED)

        def __getitem__(self, index, /):
            return SKEWED[index]

    np.testing.assert_array_equal(labels_of(Plain()), SKEWED.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "unknown sampling.on_error 'ignore'"),
        ({"fraction": 0.0}, "sampling.fraction must be above 0"),
        ({"fraction": 1.5}, "at most 1, got 1.5"),
        ({"balance": -1.0}, "sampling.balance must be at least 0"),
        ({"balance": float("nan")}, "sampling.balance must be at least 0"),
        ({"repeats": 0}, "sampling.repeats must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(options, message) -> None:
    with pytest.raises(UserError, match=message):
        make_sampling(SKEWED, **options)


def test_classes_of_no_number_cannot_be_balanced() -> None:
    with pytest.raises(UserError, match="needs one class an example"):
        balanced_weights(np.zeros((3, 2), np.float32), 1.0)


def test_spread_out_takes_equal_distances_and_both_ends():
    images = np.arange(11, dtype=np.uint8).reshape(-1, 1, 1, 1)
    source = ArraySource(images, np.zeros(11, int), SourceInfo("some", ("a", "b")))
    found = spread_out(source, 3)
    assert [int(found[index]["image"][0, 0, 0]) for index in range(len(found))] == [0, 5, 10]
    assert spread_out(source, 0) is spread_out(source, 11) is source
