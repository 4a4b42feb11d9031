import itertools
import threading
import time

import numpy as np
import pytest

from cnn.data.contract import ArraySource, Example, SourceInfo
from cnn.data.pipeline import Host, epoch_order, eval_batches, steps_per_epoch, train_batches
from cnn.errors import UserError


def numbered(count: int) -> ArraySource:
    """Example i is a 2x3 image full of i % 256, with label i."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 1)
    )
    return ArraySource(images, np.arange(count), SourceInfo("numbered", ("a",)))


def plain(image):
    return image.astype(np.float32)


def noisy(image, rng):
    return image + rng.random(image.shape, np.float32)


def take(batches, count):
    return list(itertools.islice(batches, count))


def same(left, right) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


class Broken:
    """The fifth example cannot be read."""

    info = SourceInfo("broken", ("a",))

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int, /) -> Example:
        if index == 5:
            raise UserError("cannot read broken.jpg")
        return {"image": np.zeros((2, 2, 1), np.uint8), "label": 0}


def no_threads_left() -> bool:
    for _ in range(100):
        if not any(thread.name.startswith("grain") for thread in threading.enumerate()):
            return True
        time.sleep(0.05)
    return False


def test_an_epoch_has_each_example_once_but_for_a_remainder_and_the_next_another_order() -> None:
    labels = [b["label"] for b in take(train_batches(numbered(23), noisy, batch_size=5, seed=3), 8)]
    epochs = np.concatenate(labels[:4]), np.concatenate(labels[4:])
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 20
    assert epochs[0].tolist() != epochs[1].tolist()
    assert epochs[0].tolist() != sorted(epochs[0].tolist())


def test_image_label_and_weight_belong_together() -> None:
    batch = next(train_batches(numbered(50), lambda x, _: plain(x), batch_size=8, seed=0))
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
        "image": ((8, 2, 3, 1), "float32"),
        "label": ((8,), "int32"),
        "weight": ((8,), "float32"),
    }
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])
    np.testing.assert_array_equal(batch["weight"], np.ones(8))


def test_the_order_is_pinned_and_seeds_share_no_epoch() -> None:
    assert epoch_order(0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    orders = [tuple(epoch_order(seed, epoch, 100)) for seed in range(5) for epoch in range(5)]
    assert len(set(orders)) == 25
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_every_place_of_the_order_is_equally_likely() -> None:
    firsts = np.bincount([epoch_order(seed, 0, 4)[0] for seed in range(2000)], minlength=4)
    # Binomial(2000, 1/4): five standard deviations are 97.
    np.testing.assert_allclose(firsts, 500, atol=97)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_threads_change_nothing(num_threads: int) -> None:
    want = take(train_batches(numbered(23), noisy, batch_size=4, seed=1, num_threads=0), 12)
    got = train_batches(numbered(23), noisy, batch_size=4, seed=1, num_threads=num_threads)
    same(take(got, 12), want)


@pytest.mark.parametrize("start_step", [0, 1, 4, 5, 6, 11])
def test_a_run_that_starts_at_a_step_gets_the_batches_of_the_unbroken_one(start_step: int) -> None:
    unbroken = take(train_batches(numbered(23), noisy, batch_size=4, seed=1), 14)
    resumed = train_batches(numbered(23), noisy, batch_size=4, seed=1, start_step=start_step)
    same(take(resumed, 14 - start_step), unbroken[start_step:])


def test_a_far_step_is_reached_without_the_ones_before() -> None:
    start = time.perf_counter()
    far = train_batches(numbered(100), noisy, batch_size=4, seed=1, start_step=10**12)
    assert next(far)["image"].shape == (4, 2, 3, 1)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("host_count", [2, 8])
def test_the_slices_of_the_hosts_make_the_batch_of_one(host_count: int) -> None:
    one = take(train_batches(numbered(37), noisy, batch_size=16, seed=2), 5)
    parts = [
        take(
            train_batches(numbered(37), noisy, batch_size=16, seed=2, host=Host(i, host_count)),
            5,
        )
        for i in range(host_count)
    ]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    same(joined, one)


def test_seed_and_epoch_change_the_augmentation_and_examples_differ() -> None:
    def noise(seed: int, count: int):
        batches = take(train_batches(numbered(60), noisy, batch_size=20, seed=seed), count)
        return [(b["image"] - b["label"][:, None, None, None])[:, 0, 0, 0] for b in batches]

    values = np.concatenate([*noise(0, 6), *noise(1, 6)])
    assert len(np.unique(values)) > 235


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("host_count", [1, 2])
def test_an_evaluation_counts_every_example_once_in_order(batch_size, host_count) -> None:
    batch_size *= host_count
    hosts = [
        list(eval_batches(numbered(101), plain, batch_size=batch_size, host=Host(i, host_count)))
        for i in range(host_count)
    ]
    assert len({len(batches) for batches in hosts}) == 1
    seen: list[int] = []
    for step in zip(*hosts, strict=True):
        for batch in step:
            assert batch["image"].shape == (batch_size // host_count, 2, 3, 1)
            real = batch["weight"] == 1
            seen += batch["label"][real].tolist()
            np.testing.assert_array_equal(batch["image"][real][:, 0, 0, 0], batch["label"][real])
            assert not batch["image"][~real].any()
            assert not batch["weight"][~real].any()
    assert seen == list(range(101))


def test_an_evaluation_reads_no_example_twice() -> None:
    reads: list[int] = []

    class Counting(Broken):
        def __getitem__(self, index: int, /) -> Example:
            reads.append(index)
            return super().__getitem__(0)

    list(eval_batches(Counting(), plain, batch_size=4, num_threads=0))
    assert reads == list(range(10))


@pytest.mark.parametrize("num_threads", [0, 1, 2])
def test_an_error_of_the_source_reaches_the_caller_and_leaves_no_thread(num_threads: int) -> None:
    with pytest.raises(UserError, match=r"^cannot read broken.jpg$"):
        list(eval_batches(Broken(), plain, batch_size=2, num_threads=num_threads))
    with pytest.raises(UserError, match=r"^cannot read broken.jpg$"):
        take(
            train_batches(
                Broken(), lambda x, _: plain(x), batch_size=2, seed=0, num_threads=num_threads
            ),
            5,
        )
    assert no_threads_left()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("end", ["close", "drop"])
def test_threads_end_with_the_iterator(started: bool, end: str) -> None:
    batches = train_batches(numbered(20), noisy, batch_size=4, seed=0, num_threads=2)
    if started:
        next(batches)
    assert any(thread.name.startswith("grain") for thread in threading.enumerate())
    if end == "close":
        batches.close()
    del batches
    assert no_threads_left()


def test_steps_per_epoch() -> None:
    assert steps_per_epoch(4000, 64) == 62
    assert steps_per_epoch(64, 64) == 1
    with pytest.raises(UserError, match="a batch of 65 cannot be taken from 64"):
        steps_per_epoch(64, 65)
    with pytest.raises(UserError, match="batch_size must be between 1 and 64"):
        steps_per_epoch(64, 0)


def test_a_batch_that_hosts_do_not_divide_is_refused_before_reading() -> None:
    with pytest.raises(UserError, match="a batch of 10 cannot be shared by 4 hosts"):
        train_batches(Broken(), noisy, batch_size=10, seed=0, host=Host(0, 4))
    with pytest.raises(UserError, match="for instance 8"):
        eval_batches(Broken(), plain, batch_size=10, host=Host(0, 4))


def test_an_empty_evaluation_is_refused() -> None:
    with pytest.raises(UserError, match="numbered has no examples to evaluate on"):
        eval_batches(numbered(0), plain, batch_size=10)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="seed must be between 0"):
        train_batches(Broken(), noisy, batch_size=2, seed=-1)
