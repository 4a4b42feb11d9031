import time

import numpy as np
import pytest

from cnn.data.contract import ArraySource, Example, SourceInfo
from cnn.data.inspection import contact_sheet, duplicates, inspect_part, measure_speed, spread
from cnn.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 6, 4, 3), np.uint8)
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])


def source(images=IMAGES, labels=LABELS, target="class") -> ArraySource:
    return ArraySource(images, labels, SourceInfo("photos", ("a", "b", "c", "d"), target))


class Faulty:
    """Examples 2 and 7 cannot be read."""

    info = source().info

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int, /) -> Example:
        if index in (2, 7):
            raise UserError(f"cannot read {index}.jpg: truncated")
        return source()[index]


def test_counts_sizes_and_statistics_are_numpys() -> None:
    part = inspect_part(source())
    assert (part.num_examples, part.num_read, part.faults) == (10, 10, [])
    assert part.per_class == {"a": 6, "b": 3, "c": 1}
    assert part.sizes == {(6, 4, 3): 10}
    np.testing.assert_allclose(part.mean, IMAGES.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(part.std, IMAGES.std((0, 1, 2)) / 255, rtol=1e-12)


def test_statistics_are_of_the_commonest_number_of_channels() -> None:
    class Mixed(Faulty):
        def __getitem__(self, index: int, /) -> Example:
            image = IMAGES[index] if index else IMAGES[0][:, :, :1]
            return {"image": image, "label": 0}

    part = inspect_part(Mixed())
    np.testing.assert_allclose(part.mean, IMAGES[1:].mean((0, 1, 2)) / 255, rtol=1e-12)
    assert part.sizes == {(6, 4, 3): 9, (6, 4, 1): 1}


def test_what_cannot_be_read_is_listed_and_not_counted() -> None:
    part = inspect_part(Faulty())
    assert part.faults == [(i, f"cannot read {i}.jpg: truncated") for i in (2, 7)]
    assert sum(part.per_class.values()) == 8
    rest = np.delete(IMAGES, [2, 7], 0)
    np.testing.assert_allclose(part.mean, rest.mean((0, 1, 2)) / 255, rtol=1e-12)


def test_duplicates_between_and_within_parts() -> None:
    first = inspect_part(source())
    again = np.concatenate([IMAGES[3:5], 255 - IMAGES[:2], IMAGES[3:4]])
    second = inspect_part(source(again, LABELS[:5]))
    assert duplicates(first, second) == [(3, 0), (4, 1), (3, 4)]
    assert duplicates(second, second) == [(0, 4)]
    assert duplicates(first, first) == []
    # The same bytes in another shape are another picture.
    turned = inspect_part(source(IMAGES.reshape(10, 4, 6, 3)))
    assert duplicates(first, turned) == []


def test_a_limit_reads_evenly() -> None:
    assert spread(10, 0) == spread(10, 10) == spread(10, 99) == list(range(10))
    assert spread(10, 4) == [0, 2, 5, 7]
    part = inspect_part(source(), limit=4)
    assert (part.num_examples, part.num_read) == (10, 4)
    assert part.per_class == {"a": 3, "b": 1}


def test_nothing_readable_still_gives_a_part() -> None:
    class Hopeless(Faulty):
        def __getitem__(self, index: int, /) -> Example:
            raise UserError("cannot read x")

    assert len(inspect_part(Hopeless()).faults) == 10
    with pytest.raises(UserError, match="none of the examples of photos that were tried"):
        measure_speed(Hopeless(), lambda image, rng: image, len)


def test_speed_is_positive_and_calls_both() -> None:
    calls, puts = [], []
    speed = measure_speed(
        Faulty(), lambda image, rng: calls.append(image.shape) or image, puts.append, count=5
    )
    assert len(calls) == 4
    assert {batch.shape for batch in puts} == {(4, 6, 4, 3)}
    assert speed.decode == 0
    assert min(speed.read, speed.augment, speed.transfer) > 0


def test_where_images_are_encoded_decoding_is_timed_by_itself() -> None:
    class Slow(Faulty):
        def encoded(self, index: int, /) -> bytes:
            time.sleep(0.002)
            return bytes([index])

        def decoded(self, index: int, stored: bytes, /) -> Example:
            time.sleep(0.006)
            assert stored == bytes([index])
            return source()[index]

        def __getitem__(self, index: int, /) -> Example:
            raise AssertionError("read as a whole")

    speed = measure_speed(Slow(), lambda image, rng: image, len, count=5)
    assert 0.002 <= speed.read < speed.decode
    assert speed.augment < 0.002


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet_has_the_images_in_rows_spread_to_all_levels(channels) -> None:
    images = RNG.normal(size=(5, 6, 4, channels)).astype(np.float32)
    sheet = contact_sheet(images, columns=3, gap_px=2)
    assert sheet.shape == (14, 16, 3)
    low, high = images.min((0, 1, 2)), images.max((0, 1, 2))
    want = np.round((images - low) / (high - low) * 255)
    np.testing.assert_allclose(sheet[8:14, 6:10, :], np.broadcast_to(want[4], (6, 4, 3)), atol=1)
    assert (sheet[:, 4:6] == 255).all()
    assert (sheet[8:, 12:] == 255).all()
