"""Distances of distributions against closed forms and slow NumPy."""

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.evaluators import generation

RNG = np.random.default_rng(0)


def test_the_distance_of_two_gaussians_is_its_closed_form():
    # Of covariances with the same axes the trace is the sum of squared differences of deviations.
    axes, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    one, other = np.asarray([1.0, 2.0, 3.0, 0.5, 0.0]), np.asarray([2.0, 2.0, 0.1, 0.0, 0.0])
    means = RNG.normal(size=(2, 5))
    left = generation.Gaussian(means[0], axes @ np.diag(one**2) @ axes.T)
    right = generation.Gaussian(means[1], axes @ np.diag(other**2) @ axes.T)
    expected = np.square(means[0] - means[1]).sum() + np.square(one - other).sum()
    assert generation.frechet_distance(left, right) == pytest.approx(expected, rel=1e-6)
    assert generation.frechet_distance(left, left) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_covariances_that_do_not_commute_is_that_of_the_matrix_root():
    import scipy.linalg

    samples = RNG.normal(size=(2, 50, 4)) @ RNG.normal(size=(2, 4, 4))
    one, other = (generation.Gaussian.of(sample) for sample in samples)
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    expected = np.square(one.mean - other.mean).sum() + np.trace(
        one.covariance + other.covariance - 2 * np.real(root)
    )
    assert generation.frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def slow_share(images, others, k):
    inside = 0
    for image in images:
        for index, other in enumerate(others):
            apart = sorted(np.linalg.norm(other - x) for i, x in enumerate(others) if i != index)
            if np.linalg.norm(image - other) <= apart[k - 1]:
                inside += 1
                break
    return inside / len(images)


def test_precision_and_recall_are_their_definition(monkeypatch):
    monkeypatch.setattr(generation, "_BLOCK", 7)
    real, made = RNG.normal(size=(20, 3)), RNG.normal(size=(15, 3)) * 0.5 + 0.8
    found = generation.precision_recall(real, made, k=3)
    assert found == (slow_share(made, real, 3), slow_share(real, made, 3))
    assert 0 < found[1] < found[0] <= 1


def test_too_few_images_are_one_clear_line():
    with pytest.raises(UserError, match="need more than 3 images, and there are 20 real and 3"):
        generation.precision_recall(RNG.normal(size=(20, 3)), RNG.normal(size=(3, 3)))


def test_the_examination_leaves_padding_out_and_counts_equals_half():
    batches = [
        {"real_score": [1.0, 3.0, 9.0], "made_score": [1.0, 2.0, 9.0], "weight": [1, 1, 0]},
        {"real_score": [0.0], "made_score": [-1.0], "weight": [1]},
    ]
    batches = [{name: np.asarray(x, np.float32) for name, x in b.items()} for b in batches]
    found = generation.examine_scores(lambda batch: batch, batches, [], ("a",), 7)
    # 1 against 1, 2, -1; 3 against all; 0 against -1 only.
    assert found.metrics["told_apart"] == pytest.approx((1.5 + 3 + 1) / 9)
    assert found.metrics["real_score"] == pytest.approx(4 / 3)
    assert (found.step, found.num_examples, found.unit) == (7, 3, "images")
    assert "told_apart 0.6111" in found.headline()
    assert "(3 examples)" in found.headline()
    with pytest.raises(UserError, match="no examples"):
        generation.examine_scores(lambda batch: batch, [], [], (), 0)


def test_means_are_over_all_examples():
    names = ("loss", "divergence")
    batches = [
        {**{name: np.asarray([2.0, 4.0, 99.0]) for name in names}, "weight": np.asarray([1, 1, 0])},
        {**{name: np.asarray([6.0]) for name in names}, "weight": np.asarray([1])},
    ]
    found = generation.examine_means(names, lambda batch: batch, batches, [], (), 3)
    assert found.metrics == dict.fromkeys(names, 4.0)
    assert found.num_examples == 3
