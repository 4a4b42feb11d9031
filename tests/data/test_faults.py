import itertools
import logging

import numpy as np
import pytest

from cnn.data.contract import ArraySource, Example, SourceInfo
from cnn.data.faults import Skipping
from cnn.data.pipeline import eval_batches, train_batches
from cnn.data.sampling import make_sampling
from cnn.errors import UserError


class Faulty:
    """Example i is full of i; those of `broken` cannot be read."""

    def __init__(self, count: int, broken: set[int]) -> None:
        self.info = SourceInfo("photos train", ("a", "b"))
        self.labels = np.zeros(count, np.int64)
        self.broken = broken
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> Example:
        self.reads.append(index)
        if index in self.broken:
            raise UserError(f"cannot read {index}.jpg: truncated")
        return {"image": np.full((2, 2, 1), index % 256, np.uint8), "label": index % 2}


def batches(source, count, **options):
    made = train_batches(
        source,
        lambda image, rng: image + rng.random(image.shape, np.float32),
        batch_size=8,
        seed=0,
        **options,
    )
    return [batch["image"] for batch in itertools.islice(made, count)]


def test_the_next_readable_example_stands_for_a_broken_one() -> None:
    source = Skipping(Faulty(1000, {3, 4, 998, 999}))
    assert [int(source[i]["image"][0, 0, 0]) for i in (2, 3, 4, 5)] == [2, 5, 5, 5]
    assert source[999]["image"][0, 0, 0] == source[998]["image"][0, 0, 0] == 0
    assert source[3]["label"] == 1
    assert len(source.faults) == 4


def test_a_broken_example_is_tried_once() -> None:
    inner = Faulty(1000, {3})
    source = Skipping(inner)
    for _ in range(3):
        source[3]
    assert inner.reads.count(3) == 1


@pytest.mark.parametrize("options", [{"num_threads": 4}, {"start_step": 5}])
def test_batches_stay_the_same_whatever_reads_them(options) -> None:
    broken = {7, 300, 301, 650}
    want = batches(Skipping(Faulty(700, broken)), 200, num_threads=0)
    start = options.get("start_step", 0)
    got = batches(Skipping(Faulty(700, broken)), 200 - start, **options)
    for a, b in zip(got, want[start:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_faults_are_counted_in_warnings_at_powers_of_two(caplog) -> None:
    source = Skipping(Faulty(1000, set(range(9))))
    with caplog.at_level(logging.WARNING, "cnn.data"):
        for i in range(9):
            source[i]
    counts = [record.getMessage().split(" of ")[0] for record in caplog.records]
    assert counts == [f"skipped {n}" for n in (1, 2, 4, 8)]
    assert "of the 1000 examples of photos train: cannot read 0.jpg" in caplog.text


def test_more_than_one_in_a_hundred_stops_the_training() -> None:
    at_the_limit = Skipping(Faulty(300, {1, 2, 3}))
    at_the_limit[1]
    above = Skipping(Faulty(300, {1, 2, 3, 4}))
    with pytest.raises(UserError, match="4 of the 300 examples of photos train cannot be read"):
        above[1]
    with pytest.raises(UserError, match="more than 1%, the last: cannot read") as caught:
        batches(Skipping(Faulty(300, set(range(0, 300, 10)))), 40)
    assert "\n" not in str(caught.value)


def test_raise_stops_at_the_first_and_evaluation_always_does() -> None:
    with pytest.raises(UserError, match=r"^cannot read 7.jpg"):
        batches(make_sampling(Faulty(700, {7}), on_error="raise"), 100)
    batches(make_sampling(Faulty(700, {7})), 100)
    with pytest.raises(UserError, match=r"^cannot read 7.jpg"):
        list(eval_batches(Faulty(700, {7}), lambda x: x.astype(np.float32), batch_size=8))


def test_a_source_in_which_nothing_can_be_read_does_not_loop() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Skipping(Faulty(2, {0, 1}))[0]


def test_a_fault_of_the_transform_is_not_skipped() -> None:
    def refuse(image, rng):
        raise UserError("an image of 3 channels cannot become one of 5")

    source = make_sampling(
        ArraySource(np.zeros((20, 2, 2, 1), np.uint8), np.zeros(20, int), SourceInfo("x", ("a",)))
    )
    with pytest.raises(UserError, match="cannot become one of 5"):
        next(train_batches(source, refuse, batch_size=2, seed=0))
