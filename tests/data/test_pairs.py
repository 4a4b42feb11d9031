import numpy as np
import pytest
from PIL import Image

from cnn import data
from cnn.data.pairs import outlined, outlines, pairs, unpaired
from cnn.errors import UserError


def write(path, height, width, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


def beside(path, left, right):
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = [np.full((6, 5, 3), value, np.uint8) for value in (left, right)]
    Image.fromarray(np.concatenate(halves, axis=1)).save(path)


@pytest.fixture
def root(tmp_path):
    for index in range(3):
        beside(tmp_path / "train" / f"{index}.png", 10 * index, 10 * index + 5)
    beside(tmp_path / "test" / "9.png", 90, 95)
    for index in range(2):
        write(tmp_path / "two" / "trainA" / f"{index}.png", 6, 8, 10 * index)
        write(tmp_path / "two" / "testA" / f"{index}.png", 6, 8, 10 * index)
    for index in range(3):
        write(tmp_path / "two" / "trainB" / f"{index}.png", 4, 4, 100 + 10 * index)
    write(tmp_path / "two" / "testB" / "x.png", 4, 4, 200)
    return tmp_path


def values(source):
    """(first, second) of each pair, which are of one colour each."""
    images = [source[index]["image"] for index in range(len(source))]
    for image in images:
        assert (image == image[:1, :1]).all()
    return [(int(image[0, 0, 0]), int(image[0, 0, 3])) for image in images]


def test_halves_lie_behind_one_another(root):
    sources = pairs(root, "", "")
    assert values(sources.train) == [(0, 5), (10, 15), (20, 25)]
    assert values(sources.eval) == [(90, 95)]
    assert sources.train[0]["image"].shape == (6, 5, 6)
    assert sources.train.info.target == "pair"
    assert values(pairs(root, "test", "train", b_to_a=True).train) == [(95, 90)]


def test_the_shorter_folder_is_gone_through_again(root):
    sources = unpaired(root / "two", "", "")
    assert values(sources.train) == [(0, 100), (10, 110), (0, 120)]
    assert values(sources.eval) == [(0, 200), (10, 200)]
    # The second has the size of the first.
    assert sources.train[0]["image"].shape == (6, 8, 6)


def test_outlines_are_the_edge_of_a_digit():
    square = np.zeros((1, 6, 6, 1), np.uint8)
    square[0, 1:5, 1:5] = 200
    expected = np.zeros((6, 6), np.uint8)
    expected[1:5, 1:5] = 255
    expected[2:4, 2:4] = 0
    np.testing.assert_array_equal(outlined(square)[0, :, :, 0], expected)


def test_digits_come_with_their_own_outline_or_that_of_another():
    own, others = outlines().train, outlines(paired=False).train
    assert (len(own), len(others)) == (4000, 2000)
    assert own[7]["image"].shape == (28, 28, 2)
    image = own[7]["image"]
    np.testing.assert_array_equal(outlined(image[None, ..., 1:])[0], image[..., :1])
    image = others[7]["image"]
    assert (outlined(image[None, ..., 1:])[0] != image[..., :1]).any()


def opened(**section):
    values = {"name": "", "train_split": "", "eval_split": "", "root": ""}
    return data.open_sources(**{**values, "eval_fraction": 0.2, "cache_mb": 1, **section})


def test_they_are_known_by_name(root):
    found = opened(source="pairs", root=str(root), options={"pairs": {"b_to_a": True}})
    assert values(found.eval) == [(95, 90)]
    assert len(opened(source="unpaired", root=str(root / "two"), options={}).train) == 3
    assert len(opened(source="outlines", options={"outlines": {"paired": False}}).eval) == 500


def test_what_is_missing_is_one_clear_line(root):
    with pytest.raises(UserError, match=r"'pairs' needs data\.root"):
        pairs("", "", "")
    with pytest.raises(UserError, match=r"no folder to evaluate on in .*known: val, valid"):
        pairs(root / "two", "trainA", "")
    with pytest.raises(UserError, match="no folder 'nothing' in"):
        pairs(root, "nothing", "")
    (root / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty"):
        pairs(root, "empty", "")
    write(root / "train" / "odd.png", 4, 7, 0)
    with pytest.raises(UserError, match=r"odd.png is 7 pixels wide, .*data.source='unpaired'"):
        pairs(root, "", "").train[3]
