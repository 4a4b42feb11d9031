import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from cnn.data.pipeline import eval_batches
from cnn.data.table import table
from cnn.errors import UserError

NAMES = [f"images/{i}.png" for i in range(12)]
CLASSES = [("cat", "dog", "emu")[i % 3] for i in range(12)]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for i, name in enumerate(NAMES):
        Image.fromarray(np.full((4, 5, 3), 10 * i, np.uint8)).save(tmp_path / name)
    return tmp_path


def write(path: pathlib.Path, rows, header="path,label") -> None:
    if path.suffix == ".csv":
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    else:
        keys = header.split(",")
        path.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))


def opened(root, train="", held_out="", **options):
    return table(str(root), train, held_out, 0.25, **options)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_are_pictures_with_their_classes(root, ending) -> None:
    write(root / f"train.{ending}", zip(NAMES[:9], CLASSES, strict=False))
    write(root / f"val.{ending}", zip(NAMES[9:], CLASSES[9:], strict=True))
    train, held_out = opened(root)
    assert train.info.class_names == held_out.info.class_names == ("cat", "dog", "emu")
    assert (len(train), len(held_out)) == (9, 3)
    for i in range(9):
        example = train[i]
        np.testing.assert_array_equal(example["image"], np.full((4, 5, 3), 10 * i))
        assert example["label"] == i % 3
    assert [held_out[i]["label"] for i in range(3)] == [0, 1, 2]


def test_whole_numbers_are_classes_by_value(root) -> None:
    write(root / "train.csv", zip(NAMES, [10, 9, 2] * 4, strict=True))
    train, held_out = opened(root)
    assert train.info.class_names == ("2", "9", "10")
    assert (len(train), len(held_out)) == (9, 3)
    assert sorted(held_out[i]["label"] for i in range(3)) == [0, 1, 2]
    seen = {int(s[i]["image"][0, 0, 0]) for s in (train, held_out) for i in range(len(s))}
    assert seen == {10 * i for i in range(12)}


def test_spreadsheets_quotes_and_other_columns(root) -> None:
    rows = "".join(f'"{n}",{c},x\r\n' for n, c in zip(NAMES, CLASSES, strict=True))
    (root / "all.csv").write_text("\ufefffile,kind,more\r\n" + rows, encoding="utf-8")
    train, _ = opened(root, "all.csv", path_column="file", label_column="kind")
    assert train.info.class_names == ("cat", "dog", "emu")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_several_classes_a_picture(root, ending) -> None:
    labels = ["cat|dog", "", "emu"] * 4
    if ending == "jsonl":
        labels = [label.split("|") if label else [] for label in labels]
    write(root / f"train.{ending}", zip(NAMES, labels, strict=True))
    write(root / f"val.{ending}", zip(NAMES, labels, strict=True))
    train, held_out = opened(root, target="multi")
    assert train.info.target == "multi"
    want = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], np.float32)
    np.testing.assert_array_equal(np.stack([train[i]["label"] for i in range(3)]), want)
    (batch,) = eval_batches(held_out, lambda x: x.astype(np.float32), batch_size=14)
    np.testing.assert_array_equal(batch["label"][:12], np.tile(want, (4, 1)))
    assert batch["label"].dtype == np.float32
    assert batch["weight"].tolist() == [1.0] * 12 + [0.0] * 2


@pytest.mark.parametrize(
    ("label", "names", "want"),
    [(0.5, ("label",), [0.5]), ("1|-2.5e3", ("label0", "label1"), [1, -2500])],
)
def test_numbers_to_predict(root, label, names, want) -> None:
    write(root / "train.csv", [(name, label) for name in NAMES])
    train, held_out = opened(root, target="float")
    assert train.info.class_names == names
    np.testing.assert_array_equal(train[0]["label"], np.array(want, np.float32))
    assert len(held_out) == 3


def lines(*rows: str) -> str:
    return "\n".join(["path,label", *rows])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,label\n", {}, "train.csv has no rows"),
        ("file,label\nx,1", {}, r"line 2 has no 'path' \(known: file, label\)"),
        (lines("images/0.png"), {}, "line 2 has no 'label'"),
        (lines("images/0.png,"), {}, "line 2: the label '' is no class"),
        (lines("images/0.png,cat"), {}, r"has 1 class\(es\)"),
        (
            lines("gone.png,cat", "images/0.png,dog", "deep/gone.png,cat"),
            {},
            "names 2 of 3 pictures that are not there, the first .*gone.png; paths are relative",
        ),
        (lines("images/0.png,much"), {"target": "float"}, "line 2: the label 'much' is no number"),
        (lines("images/0.png,nan"), {"target": "float"}, "no finite number"),
        (
            lines("images/0.png,1", "images/1.png,1|2"),
            {"target": "float"},
            r"rows of \[1, 2\] numbers",
        ),
        (lines("images/0.png,cat"), {"target": "clas"}, "did you mean 'class'"),
    ],
)
def test_a_wrong_table_is_one_line_that_says_where(root, text, options, message) -> None:
    (root / "train.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        opened(root, **options)
    assert "\n" not in str(caught.value)


def test_wrong_jsonl_says_where(root) -> None:
    for text, message in (("{]", "line 1 is no JSON"), ("\n[1]", "line 2 is no JSON object")):
        (root / "train.jsonl").write_text(text)
        with pytest.raises(UserError, match=message):
            opened(root)
    (root / "train.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no UTF-8 text"):
        opened(root)


def test_a_class_that_is_only_evaluated_is_named(root) -> None:
    write(root / "train.csv", zip(NAMES, CLASSES, strict=True))
    write(root / "val.csv", [(NAMES[0], "yak")])
    with pytest.raises(UserError, match=r"not: yak .known: cat, dog, emu"):
        opened(root)


def test_tables_that_are_not_there_are_named(root) -> None:
    with pytest.raises(UserError, match=r"no train.csv or train.jsonl"):
        opened(root)
    write(root / "train.csv", zip(NAMES, CLASSES, strict=True))
    with pytest.raises(UserError, match=r"no table 'eval.csv' in .* \(known: train.csv\)"):
        opened(root, held_out="eval.csv")
