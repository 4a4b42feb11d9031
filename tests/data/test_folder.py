import os
import pathlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cnn.data.folder import FolderSource, folder
from cnn.errors import UserError


def draw(path: pathlib.Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), level, np.uint8)).save(path)


def names(source: FolderSource) -> list[str]:
    return [path.name for path in source._paths]


def opened(root: pathlib.Path, train: str = "", held_out: str = "", fraction: float = 0.2):
    return folder(root, train, held_out, fraction)


@pytest.fixture
def split(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("cat", "ant", "bee")):
            for i in range(count):
                draw(tmp_path / part / name / f"{part}{i}.png", 10 * label + i)
    return tmp_path


@pytest.fixture
def classes(tmp_path):
    for name, count in (("a", 40), ("b", 10), ("c", 2)):
        for i in range(count):
            draw(tmp_path / name / f"{name}{i}.png", i)
    return tmp_path


def test_classes_are_the_sorted_folders_and_images_are_read(split) -> None:
    train, held_out = opened(split)
    assert (len(train), len(held_out)) == (9, 6)
    assert train.info.class_names == held_out.info.class_names == ("ant", "bee", "cat")
    example = train[0]
    assert example["label"] == 0
    np.testing.assert_array_equal(example["image"], np.full((4, 5, 3), 10))
    assert [train[i]["label"] for i in range(9)] == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_the_evaluation_folder_may_have_any_usual_name(split, name) -> None:
    (split / "val").rename(split / name)
    assert len(opened(split).eval) == 6


def test_val_comes_before_test_unless_another_is_named(split) -> None:
    for name in ("bee", "cat"):
        draw(split / "test" / name / "t.png")
        draw(split / "extra" / name / "e.png")
    assert len(opened(split).eval) == 6
    train, held_out = opened(split, train="extra", held_out="test")
    assert names(train) == ["e.png", "e.png"]
    assert names(held_out) == ["t.png", "t.png"]


def test_every_extension_in_any_case_nested_but_nothing_hidden(tmp_path) -> None:
    good = ["a.jpg", "b.JPEG", "c.PnG", "d.bmp", "e.gif", "f.webp", "g.tif", "h.TIFF", "i.ppm"]
    for name in good:
        draw(tmp_path / "one" / "deep" / "er" / name)
    for name in (".hidden.png", "deep/.cache/x.png", "notes.txt", "png", "x.png.part"):
        path = tmp_path / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    draw(tmp_path / "two" / "a.png")
    # A name that is no text in any encoding of today.
    (tmp_path / "two" / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / "two") + b"/\xff.png"))
    draw(tmp_path / "two" / "b.png")
    draw(tmp_path / ".thumbs" / "a.png")
    train, held_out = opened(tmp_path)
    assert train.info.class_names == ("one", "two")
    found = [n for s in (train, held_out) for n in names(s)]
    assert sorted(found) == sorted([*good, os.fsdecode(b"\xff.png"), "b.png"])
    for source in (train, held_out):
        for i in range(len(source)):
            assert source[i]["image"].shape == (4, 5, 3)


def test_a_folder_without_parts_is_split_by_class_the_same_way_everywhere(
    classes, tmp_path_factory
):
    train, held_out = opened(classes)
    counts = [Counter(s[i]["label"] for i in range(len(s))) for s in (train, held_out)]
    assert counts == [{0: 32, 1: 8, 2: 1}, {0: 8, 1: 2, 2: 1}]
    assert not set(train._paths) & set(held_out._paths)
    # The names alone decide: another root, other bytes, another order of creation.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in sorted((*train._paths, *held_out._paths), reverse=True):
        draw(elsewhere / path.relative_to(classes), 77)
    assert names(opened(elsewhere).eval) == names(held_out)
    assert names(held_out)[-3:] == ["b1.png", "b7.png", "c1.png"]


def test_the_fraction_is_kept_and_a_larger_one_holds_the_smaller(classes) -> None:
    small, large = (set(names(opened(classes, fraction=f).eval)) for f in (0.1, 0.5))
    assert (len(small), len(large)) == (4 + 1 + 1, 20 + 5 + 1)
    assert small < large


def test_a_lone_train_folder_is_split_but_beside_classes_it_is_one(tmp_path) -> None:
    for name in ("a", "b"):
        for i in range(5):
            draw(tmp_path / "one" / "train" / name / f"{i}.png")
            draw(tmp_path / "two" / "train" / f"{name}{i}.png")
            draw(tmp_path / "two" / "bus" / f"{name}{i}.png")
    assert opened(tmp_path / "one").train.info.class_names == ("a", "b")
    assert opened(tmp_path / "two").train.info.class_names == ("bus", "train")


def test_errors_name_what_is_wrong(split, tmp_path) -> None:
    with pytest.raises(UserError, match=r"missing' does not exist; give the folder"):
        opened(tmp_path / "missing")
    with pytest.raises(UserError, match=r"needs data\.root"):
        folder("", "", "", 0.2)
    with pytest.raises(UserError, match="is a file"):
        opened(split / "train" / "cat" / "train0.png")
    with pytest.raises(UserError, match="no class folders in"):
        opened(split / "train" / "cat")
    with pytest.raises(UserError, match=r"no folder 'tset' in .* \(known: train, val\)"):
        opened(split, held_out="tset")
    with pytest.raises(UserError, match=r"no folder 'trian' in"):
        opened(split, train="trian")


def test_a_class_without_images_is_named(split) -> None:
    (split / "train" / "dog").mkdir()
    (split / "train" / "dog" / "readme.txt").write_text("soon")
    with pytest.raises(UserError, match=r"train/dog' has no images \(known: bmp gif"):
        opened(split)


def test_a_class_that_is_only_evaluated_is_named(split) -> None:
    draw(split / "val" / "dog" / "x.png")
    with pytest.raises(UserError, match=r"val' has classes .* not: dog \(known: ant, bee, cat\)"):
        opened(split)


def test_one_class_is_refused(tmp_path) -> None:
    draw(tmp_path / "only" / "x.png")
    with pytest.raises(UserError, match="only the class 'only'"):
        opened(tmp_path)


def test_a_class_of_one_image_cannot_be_split(classes) -> None:
    draw(classes / "lonely" / "x.png")
    with pytest.raises(UserError, match="lonely' has 1 image"):
        opened(classes)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 20.0])
def test_a_fraction_out_of_range_is_refused(classes, fraction) -> None:
    with pytest.raises(UserError, match="eval_fraction must be above 0 and below 1"):
        opened(classes, fraction=fraction)


def test_a_corrupt_image_is_named_when_it_is_read(split) -> None:
    path = split / "train" / "ant" / "train1.png"
    path.write_bytes(path.read_bytes()[:40])
    train, _ = opened(split)
    train[0]
    with pytest.raises(UserError, match=r"cannot read .*train/ant/train1.png"):
        train[1]


@pytest.mark.parametrize("what", ["val", "train/cat"])
def test_an_unreadable_folder_is_named(split, what, monkeypatch) -> None:
    # The tests may run as root, who may read everything.
    def guarded(real):
        def listing(path):
            if os.fspath(path) == os.fspath(split / what):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return real(path)

        return listing

    for function in ("scandir", "listdir"):
        monkeypatch.setattr(os, function, guarded(getattr(os, function)))
    with pytest.raises(UserError, match=f"cannot read the folder .*{what}.*: Permission denied"):
        opened(split)
