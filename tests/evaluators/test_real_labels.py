"""Several labels an image, by hand."""

import json

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.evaluators.real_labels import compare, read

NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in (3, 1, 2)]


def file(tmp_path, content):
    path = tmp_path / "real.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_any_label_is_right_and_none_is_left_out():
    right, labelled = compare(np.array([4, 5, 6, 7]), [[1, 4], [6], [], [7]])
    assert right.tolist() == [True, False, False, True]
    assert labelled.tolist() == [True, True, False, True]


def test_labels_go_by_the_number_in_the_files_name(tmp_path):
    path = file(tmp_path, [[1], [2, 5], [], [9]])
    assert read(path, NAMES, 10) == [[], [1], [2, 5]]


def test_other_names_are_taken_in_their_order(tmp_path):
    assert read(file(tmp_path, [[1], [2], [3]]), ["c.png", "a.png", "b.png"], 10) == [[3], [1], [2]]


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="has 2 entries for 3 images"):
        read(file(tmp_path, [[1], [2]]), ["c.png", "a.png", "b.png"], 10)
    with pytest.raises(UserError, match="has 2 entries, but there is an image number 3"):
        read(file(tmp_path, [[1], [2]]), NAMES, 10)
    with pytest.raises(UserError, match="has the label 10, but the network has 10 classes"):
        read(file(tmp_path, [[1], [2], [10]]), NAMES, 10)
    with pytest.raises(UserError, match="must hold a list of lists"):
        read(file(tmp_path, {"a": 1}), NAMES, 10)
    with pytest.raises(UserError, match="is not JSON"):
        read(file(tmp_path, "[["), NAMES, 10)
    with pytest.raises(UserError, match="cannot read --labels=nowhere"):
        read("nowhere", NAMES, 10)
