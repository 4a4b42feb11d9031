"""Enlarging and smearing, by hand."""

import numpy as np
import pytest

from cnn.data.blurs import enlarged, smear


def test_enlarging_by_one_is_nothing_and_by_two_is_the_middle():
    x = np.random.default_rng(0).uniform(size=(8, 8, 2))
    np.testing.assert_array_equal(enlarged(x, 1.0), x)
    ramp = np.arange(8.0)[:, None, None] * np.ones((1, 8, 1))
    # Rows 2 to 5 over the eight, the corners on the corners.
    np.testing.assert_allclose(enlarged(ramp, 2.0)[:, 0, 0], np.linspace(2, 5, 8))


def test_smear_to_the_right_by_hand():
    x = np.zeros((6, 6, 1))
    x[2, 3] = 1.0
    smeared = smear(x, 1.0, 1.0, 0.0)[2, :, 0]
    shares = np.exp(-np.array([0, 1, 4]) / 2)
    shares /= shares.sum()
    # A pixel sees itself and two to its right.
    assert smeared == pytest.approx([0, shares[2], shares[1], shares[0], 0, 0])


def test_smear_repeats_the_border():
    x = np.full((5, 5, 1), 0.3)
    np.testing.assert_allclose(smear(x, 3.0, 2.0, -100.0), x)
