"""Statistics against scipy, hand-made cases and slow loops."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cnn.compare import statistics


def test_paired_t_by_hand():
    left, right = [0.95, 0.96, 0.99], [0.94, 0.93, 0.97]
    # Differences 1, 3, 2: mean 2, deviation 1, t = 2 sqrt(3) with two degrees of freedom, whose
    # distribution is 1/2 + t / (2 sqrt(2 + t^2)).
    t = 2 * math.sqrt(3)
    assert statistics.paired_t(left, right) == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert statistics.paired_t(right, left) == pytest.approx(statistics.paired_t(left, right))


@pytest.mark.parametrize(
    ("left", "right"), [([0.9], [0.8]), ([0.5, 0.25], [0.25, 0.0]), ([0.5, 0.7], [0.5, 0.7])]
)
def test_paired_t_of_too_few_or_equal_differences_is_none(left, right):
    assert statistics.paired_t(left, right) is None


def test_discordant_counts_both_ways():
    left = np.array([1, 1, 1, 0, 0], bool)
    right = np.array([1, 0, 0, 1, 0], bool)
    assert statistics.discordant(left, right) == (2, 1)


def exact_mcnemar(b, c):
    """Twice the smaller tail of a fair coin, at most 1."""
    n = b + c
    tail = sum(math.comb(n, k) for k in range(min(b, c) + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (5, 15), (12, 3), (7, 7), (40, 41), (0, 9)])
def test_mcnemar_is_the_exact_binomial_test(counts):
    found = statistics.mcnemar(statistics.Discordant(*counts))
    assert found == pytest.approx(exact_mcnemar(*counts))


def test_combined_is_the_upper_median_times_its_rank():
    assert statistics.combined([0.03]) == 0.03
    assert statistics.combined([0.04, 0.01]) == pytest.approx(0.04)
    assert statistics.combined([0.9, 0.02, 0.01]) == pytest.approx(0.03)
    assert statistics.combined([0.01, 0.02, 0.03, 0.9]) == pytest.approx(0.04)
    assert statistics.combined([0.9, 0.95, 1.0]) == 1.0


def test_combined_p_values_of_true_hypotheses_are_seldom_small():
    """Tests that see the same data nearly agree; the combination must not reject more often."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((4000, 1))
    for share in (0.0, 0.5, 1.0):
        z = math.sqrt(share) * shared + math.sqrt(1 - share) * rng.standard_normal((4000, 3))
        rejected = [statistics.combined(list(p)) <= 0.05 for p in 2 * stats.norm.sf(np.abs(z))]
        assert np.mean(rejected) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, and 0.04 raised to 0.06.
    found = statistics.holm([0.04, 0.01, 0.03, 0.02])
    assert found == [pytest.approx(x) for x in (0.06, 0.04, 0.06, 0.06)]
    assert statistics.holm([0.9, None, 0.6]) == [1.0, None, 1.0]
    assert statistics.holm([None]) == [None]
    assert statistics.holm([]) == []


def test_holm_is_the_closed_test_of_bonferroni():
    """A hypothesis is rejected where Bonferroni rejects every intersection that it is in."""
    p = [0.001, 0.013, 0.02, 0.2]
    for index, adjusted in enumerate(statistics.holm(p)):
        subsets = (
            chosen
            for size in range(1, 5)
            for chosen in itertools.combinations(range(4), size)
            if index in chosen
        )
        slow = max(min(p[i] for i in chosen) * len(chosen) for chosen in subsets)
        assert adjusted == pytest.approx(min(1.0, slow))


def test_error_consistency_by_hand():
    left = np.array([1, 1, 1, 0], bool)
    assert statistics.error_consistency(left, left) == pytest.approx(1.0)
    # Both have three of four right, on two of four they agree: (0.5 - 0.625) / 0.375.
    assert statistics.error_consistency(left, left[::-1]) == pytest.approx(-1 / 3)
    assert statistics.error_consistency(np.ones(3, bool), np.ones(3, bool)) is None


def test_pareto_front_against_hand():
    costs, values = [1, 2, 3, 3, 4, 1], [0.5, 0.7, 0.7, 0.9, 0.8, 0.5]
    # The third costs more than the second for as much; the fifth is beaten by the fourth; the last
    # is the first again.
    found = statistics.pareto_front(costs, values)
    assert found == [True, True, False, True, False, True]
