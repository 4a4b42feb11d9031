import math

import pytest

from cnn.plan import search


def tried(need, capacity, **options):
    sizes = []

    def needed(size):
        sizes.append(size)
        return need(size)

    return search.largest(needed, capacity, **options), sizes


@pytest.mark.parametrize("capacity", [1.2e9, 5e9, 9.99e9])
def test_of_a_straight_line_the_batch_is_found_in_few_trials(capacity):
    def need(size):
        return 1e9 + 1e6 * size

    found, sizes = tried(need, capacity, step=16, start=16_384, start_needed=need(16_384))
    best = int((capacity - 1e9) / 1e6) // 16 * 16
    assert found in sizes
    assert found % 16 == 0
    assert best - 16_384 / 16 <= found <= best
    assert len(sizes) <= 6


def test_without_numbers_it_bisects():
    found, sizes = tried(
        lambda size: 0.0 if size <= 88 else math.inf,
        1.0,
        step=8,
        start=128,
        start_needed=0.0,
    )
    assert found == 88
    assert len(sizes) <= 5


def test_a_need_that_jumps_still_ends():
    found, sizes = tried(
        lambda size: 100.0 if size < 40 else 1e12, 200.0, step=1, start=100, start_needed=1e12
    )
    assert 33 <= found < 40
    assert len(set(sizes)) == len(sizes)


def test_nothing_may_fit():
    found, _ = tried(lambda size: 1e9 * size + 1e12, 1.0, step=4, start=64, start_needed=2e12)
    assert found == 0


def test_one_chip_and_one_example_have_nothing_smaller():
    assert tried(lambda size: 0.0, 1.0, step=16, start=16, start_needed=9.0) == (0, [])
