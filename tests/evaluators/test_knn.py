"""Nearest neighbours against a slow loop."""

import math

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.evaluators import knn
from tests.evaluators.features import clouds


def slow(frozen, k, temperature):
    right = 0
    for query, label in zip(frozen.test, frozen.test_labels, strict=True):
        cosines = [
            float(query @ x) / math.sqrt(float(query @ query) * float(x @ x)) for x in frozen.train
        ]
        best = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
        votes = [0.0, 0.0, 0.0]
        for index in best:
            votes[frozen.train_labels[index]] += math.exp(cosines[index] / temperature)
        right += votes.index(max(votes)) == label
    return right / len(frozen.test)


def test_votes_are_those_of_a_loop(monkeypatch):
    # Several blocks, the last of them not full.
    monkeypatch.setattr(knn, "BLOCK", 20)
    frozen = clouds(spread=1.2)
    ks = [1, 5, 60]
    found = knn.measure(frozen, ks=ks, temperature=0.5)
    expected = {f"accuracy_k{k}": slow(frozen, k, 0.5) for k in ks}
    assert found.metrics == pytest.approx(expected)
    assert len(set(expected.values())) > 1
    assert (found.name, found.step, found.num_examples) == ("knn", 7, 45)


def test_a_vote_weighs_by_similarity():
    similarities = np.array([[0.9, 0.5, 0.5]])
    labels = np.array([[0, 1, 1]])
    # exp(4 x 0.4) = 4.95 against 2; at a tenth of it 1.17 against 2.
    assert knn.vote(similarities, labels, 2, 0.25).argmax() == 0
    assert knn.vote(similarities, labels, 2, 2.5).argmax() == 1


@pytest.mark.parametrize("k", [0, 61])
def test_k_beyond_the_training_set_is_one_line(k):
    with pytest.raises(UserError, match=f"between 1 and the 60 training examples, got {k}"):
        knn.measure(clouds(), ks=[5, k], temperature=0.07)
    with pytest.raises(UserError, match="--temperature must be above 0"):
        knn.measure(clouds(), ks=[5], temperature=0.0)
