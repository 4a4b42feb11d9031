"""Other people's folders with the network's classes."""

import numpy as np
import pytest
from PIL import Image

from cnn.data.class_match import match_classes, open_part
from cnn.data.contract import ArraySource, SourceInfo
from cnn.data.tfds import imagenet_ids
from cnn.errors import UserError


def source(*names):
    images = np.arange(len(names), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ArraySource(images, np.arange(len(names)), SourceInfo("other", names))


def test_by_name_also_of_some_classes():
    found = match_classes(source("cat", "ant"), ("ant", "bee", "cat"))
    assert found.labels.tolist() == [2, 0]
    assert found.info.class_names == ("ant", "bee", "cat")
    assert found[0]["label"] == 2
    assert found[0]["image"][0, 0, 0] == 0
    assert len(found) == 2


def test_the_same_classes_are_left_alone():
    one = source("a", "b")
    assert match_classes(one, ("a", "b")) is one


@pytest.mark.parametrize("names", [("0", "1", "10", "2"), ("00", "01", "10", "02")])
def test_by_number_as_the_folders_of_imagenet_v2_are_named(names):
    classes = tuple(f"class {i}" for i in range(11))
    assert match_classes(source(*names), classes).labels.tolist() == [0, 1, 10, 2]


def test_by_wordnet_id_for_a_thousand_classes():
    ids = imagenet_ids()
    assert (len(ids), ids[0], ids[-1]) == (1000, "n01440764", "n15075141")
    assert list(ids) == sorted(ids)
    classes = tuple(map(str, range(1000)))
    assert match_classes(source("n15075141", "n01440764"), classes).labels.tolist() == [999, 0]


def test_a_stranger_is_one_line_with_the_nearest():
    with pytest.raises(
        UserError, match=r"the first 'catt'; did you mean 'cat'\? \(known: cat, dog"
    ):
        match_classes(source("catt", "dog"), ("cat", "dog"))
    with pytest.raises(UserError, match="has 2 classes that the network has not"):
        match_classes(source("1", "12"), ("cat", "dog"))


def test_a_folder_is_one_part_with_the_names_of_its_files(tmp_path):
    for name in ("b/2.png", "a/x/1.png", "a/0.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path)
    found = open_part(root=str(tmp_path), tfds="", split="")
    assert found.info.class_names == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.file_names == ("0.png", "1.png", "2.png")
    with pytest.raises(UserError, match="does not exist; give a folder of class folders"):
        open_part(root=str(tmp_path / "c"), tfds="", split="")
