import pickle

import numpy as np
import pytest

from cnn.data.cache import Cached
from cnn.data.contract import Example, SourceInfo


class Counting:
    """Example i is a 2x2 image (4 bytes) of i; counts how often each is read."""

    info = SourceInfo("counting", ("a",))

    def __init__(self) -> None:
        self.reads = [0] * 5

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int, /) -> Example:
        self.reads[index] += 1
        return {"image": np.full((2, 2, 1), index, np.uint8), "label": index}


@pytest.mark.parametrize(
    ("max_bytes", "reads"), [(20, [1] * 5), (11, [1, 1, 3, 3, 3]), (0, [3] * 5)]
)
def test_what_fits_is_read_once_and_nothing_else_changes(max_bytes, reads) -> None:
    source = Counting()
    cached = Cached(source, max_bytes=max_bytes)
    assert (len(cached), cached.info) == (5, source.info)
    for _ in range(3):
        for i in range(5):
            example = cached[i]
            np.testing.assert_array_equal(example["image"], np.full((2, 2, 1), i))
            assert example["label"] == i
    assert source.reads == reads


def test_what_is_kept_cannot_be_changed_by_a_transform() -> None:
    cached = Cached(Counting(), max_bytes=100)
    with pytest.raises(ValueError, match="read-only"):
        cached[0]["image"][:] = 9


def test_a_copy_in_another_process_keeps_nothing() -> None:
    source = pickle.loads(pickle.dumps(Cached(Counting(), max_bytes=20)))
    for _ in range(2):
        assert source[3]["label"] == 3
    assert source._source.reads[3] == 2
