"""Annotations of COCO, VOC and YOLO: the same pictures in each, and what is wrong with files."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn import data
from cnn.data.objects import boxes
from cnn.errors import UserError

SHAPE = (40, 80)
NAMES = ("cat", "dog")
# Of a picture (label, (y0, x0, y1, x1) in pixels); the last has none.
OBJECTS = [
    [(0, (4, 8, 20, 24)), (1, (10, 40, 40, 80))],
    [(1, (0, 0, 40, 16))],
    [],
]
CROWD = (0, (0, 0, 20, 40))


def draw(folder, count=3, size=SHAPE):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = np.full((*size, 3), 10 * index, np.uint8)
        Image.fromarray(pixels).save(folder / f"p{index}.png")


def coco(root, objects=OBJECTS, **changes):
    """Categories 7 and 3, so that labels are not ids; the crowd is in the first picture."""
    ids = {0: 3, 1: 7}
    rows = [(image, label, box, 0) for image, own in enumerate(objects) for label, box in own] + [
        (0, *CROWD, 1)
    ]
    content = {
        "images": [
            {"id": 100 + i, "file_name": f"p{i}.png", "height": SHAPE[0], "width": SHAPE[1]}
            for i in range(len(objects))
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {
                "id": number,
                "image_id": 100 + image,
                "category_id": ids[label],
                "bbox": [box[1], box[0], box[3] - box[1], box[2] - box[0]],
                "iscrowd": crowd,
            }
            for number, (image, label, box, crowd) in enumerate(rows)
        ],
    }
    content |= changes
    (root / "annotations").mkdir(exist_ok=True)
    for split in ("train2017", "val2017"):
        draw(root / split)
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    return root / "annotations" / "instances_train2017.json"


def voc(root, objects=OBJECTS):
    draw(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for image, own in enumerate(objects):
        rows = [(*one, 0) for one in own] + [(*CROWD, 1)] * (image == 0)
        text = "".join(
            f"<object><name>{NAMES[label]}</name><difficult>{difficult}</difficult><bndbox>"
            f"<xmin>{box[1] + 1}</xmin><ymin>{box[0] + 1}</ymin>"
            f"<xmax>{box[3]}</xmax><ymax>{box[2]}</ymax></bndbox></object>"
            for label, box, difficult in rows
        )
        size = f"<size><width>{SHAPE[1]}</width><height>{SHAPE[0]}</height></size>"
        path = root / "Annotations" / f"p{image}.xml"
        path.write_text(f"<annotation>{size}{text}</annotation>")
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("p0\np1  1\n\np2\n")
    return root / "Annotations" / "p0.xml"


def yolo(root, objects=OBJECTS):
    for split in ("train", "valid"):
        draw(root / "images" / split)
        (root / "labels" / split).mkdir(parents=True)
        for image, own in enumerate(objects):
            lines = [
                f"{label} {(x0 + x1) / 160} {(y0 + y1) / 80} {(x1 - x0) / 80} {(y1 - y0) / 40}"
                for label, (y0, x0, y1, x1) in own
            ]
            if lines:
                text = "\n".join(lines) + "\n"
                (root / "labels" / split / f"p{image}.txt").write_text(text)
    (root / "data.yaml").write_text("names:\n  1: dog\n  0: cat\n")
    return root / "labels" / "train" / "p0.txt"


WRITERS = {"coco": coco, "voc": voc, "yolo": yolo}


@pytest.mark.parametrize("format", WRITERS)
def test_the_same_pictures_in_every_format(tmp_path, format):
    WRITERS[format](tmp_path)
    sources = boxes(tmp_path, "", "", format=format)
    for source in sources:
        assert (source.info.class_names, source.info.target) == (NAMES, "boxes")
        assert len(source) == 3
        for index in range(3):
            example = source[index]
            assert example["image"].shape == (*SHAPE, 3)
            assert example["image"][0, 0, 0] == 10 * index
            expected = list(OBJECTS[index])
            if index == 0 and format != "yolo":
                expected.append((data.unmeasured(CROWD[0]), CROWD[1]))
            assert example["box_labels"].tolist() == [label for label, _ in expected]
            rows = np.array([box for _, box in expected], np.float64).reshape(-1, 4)
            np.testing.assert_allclose(example["boxes"], rows / [40, 80, 40, 80], atol=1e-6)


def test_they_are_a_kind_of_source(tmp_path):
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    sources = data.open_sources(
        source="boxes",
        root=str(tmp_path),
        name="",
        train_split="valid",
        eval_split="train",
        eval_fraction=0.2,
        cache_mb=1,
        options={"boxes": {"format": "yolo"}},
    )
    assert "valid" in sources.train.info.name
    preprocess = data.make_preprocess(
        image_size=16, channels=3, mean=(0.0,), std=(1.0,), resize="stretch"
    )
    (batch,) = data.eval_batches(sources.train, preprocess, batch_size=4)
    np.testing.assert_allclose(batch["boxes"][1, 0], (0, 0, 1, 0.2), atol=1e-6)
    assert (batch["box_labels"][2] == -1).all()


def spoil(format, root, change):
    """Writes the files with the first object changed: (label, box) -> (label, box)."""
    objects = [[change(*OBJECTS[0][0]), OBJECTS[0][1]], *OBJECTS[1:]]
    return WRITERS[format](root, objects)


def first_line(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((4, 8, 4, 24), "has no area"),
        ((20, 8, 4, 24), "has no area"),
        ((4, 70, 20, 95), "lies outside of the picture"),
        ((-9, 8, 20, 24), "lies outside of the picture"),
        ((4, float("nan"), 20, 24), "is not finite"),
    ],
)
def test_a_box_that_is_none_is_one_clear_line_or_dropped(tmp_path, format, box, message):
    path = spoil(format, tmp_path, lambda label, _: (label, box))
    found = first_line(lambda: boxes(tmp_path, "", "", format=format))
    assert message in found
    place = {"coco": "annotation 0 (id 0)", "voc": "object 0 (cat)", "yolo": "line 1"}[format]
    assert str(path) in found
    assert place in found
    kept = boxes(tmp_path, "", "", format=format, faulty="drop").train[0]
    assert kept["box_labels"][0] == 1
    assert np.isfinite(kept["boxes"]).all()


@pytest.mark.parametrize("format", WRITERS)
def test_a_box_that_was_rounded_beyond_the_edge_is_cut(tmp_path, format):
    spoil(format, tmp_path, lambda label, _: (label, (-0.3, 8, 20, 80.5)))
    found = boxes(tmp_path, "", "", format=format).train[0]["boxes"][0]
    np.testing.assert_allclose(found, (0, 0.1, 0.5, 1), atol=1e-6)


@pytest.mark.parametrize("format", WRITERS)
def test_a_file_cut_short_is_one_clear_line(tmp_path, format):
    path = WRITERS[format](tmp_path)
    text = path.read_text()
    path.write_text(text[: text.rindex("0") - 2])
    found = first_line(lambda: boxes(tmp_path, "", "", format=format))
    assert str(path) in found
    expected = {"coco": "cut short", "voc": "cut short", "yolo": "line 2: a box has 5 numbers"}
    assert expected[format] in found


def test_unknown_classes_are_one_clear_line(tmp_path):
    for format in WRITERS:
        (tmp_path / format).mkdir()
    coco(tmp_path / "coco", categories=[{"id": 3, "name": "cat"}])
    found = first_line(lambda: boxes(tmp_path / "coco", "", ""))
    assert "annotation 1 (id 1) is of category 7, which is none (known: 3)" in found
    voc(tmp_path / "voc")
    found = first_line(
        lambda: boxes(tmp_path / "voc", "", "", format="voc", class_names=("cat", "dig"))
    )
    assert "object 1 (dog) 'dog'; did you mean 'dig'" in found
    path = yolo(tmp_path / "yolo")
    path.write_text("0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1\n")
    found = first_line(lambda: boxes(tmp_path / "yolo", "", "", format="yolo"))
    assert "line 2: there is no class 2; the 2 classes are numbered from 0 to 1" in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 5, "category_id": 3}]}, "of image 5, which is not among"),
        ({"annotations": [{"image_id": 100, "category_id": 3}]}, "annotation 0 (id None) has no"),
        ({"images": {}}, "'images' is no list"),
        ({"images": [{"id": 1, "file_name": "a", "height": 0, "width": 3}]}, "size of 0 x 3"),
    ],
)
def test_a_wrong_coco_file_is_one_clear_line(tmp_path, changes, message):
    coco(tmp_path, **changes)
    assert message in first_line(lambda: boxes(tmp_path, "", ""))


def test_a_picture_of_another_size_is_one_clear_line(tmp_path):
    coco(tmp_path)
    draw(tmp_path / "train2017", size=(20, 80))
    source = boxes(tmp_path, "", "").train
    assert "are of 40x80 pixels, and the image has 20x80" in first_line(lambda: source[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "cocoa"}, "unknown data.options.boxes.format 'cocoa'; did you mean 'coco'"),
        ({"faulty": "keep"}, "unknown data.options.boxes.faulty 'keep'"),
        ({"format": "voc"}, "cannot read"),
        ({"format": "yolo"}, "no data.yaml and no classes.txt"),
        ({"class_names": ("a", "b")}, "class_names are not the categories of"),
        ({"images": "train"}, "3 of 3 pictures of instances_train2017.json are missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path, options, message):
    coco(tmp_path)
    assert message in first_line(lambda: boxes(tmp_path, "", "", **options))


def test_several_files_for_a_split_must_be_named(tmp_path):
    coco(tmp_path)
    (tmp_path / "annotations" / "captions_val2017.json").write_text("[]")
    assert len(boxes(tmp_path, "", "").eval) == 3
    (tmp_path / "instances_val.json").write_text("{}")
    assert "2 JSON files with 'val'" in first_line(lambda: boxes(tmp_path, "", ""))
