"""Files of proposals, and where the boxes are in what a model sees."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn import data
from cnn.data import proposals as module
from cnn.data.boxes import BoxRules
from cnn.data.contract import ids_of
from cnn.data.objects import boxes
from cnn.data.proposals import Proposed, Scored, as_shares, read_proposals, write_proposals
from cnn.data.selective_search import check_installed, selective_search
from cnn.errors import UserError
from tests.data.test_boxes import SHAPE, Rectangles, preprocess_of
from tests.data.test_objects import WRITERS


def in_pixels(index):
    """The boxes of a picture, the first of them a bit smaller, then one half outside."""
    own = Rectangles()[index]["boxes"] * np.float32([*SHAPE, *SHAPE])
    outside = np.array([[-20, 10, 20, 90]], np.float32)
    return np.concatenate([own, outside])


def found():
    return {str(i): in_pixels(i) for i in range(6) if i != 3}


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_file_is_read_as_it_was_written(tmp_path, ending):
    path = tmp_path / f"found.{ending}"
    own = {name: Scored(x, np.arange(len(x), dtype=np.float32)) for name, x in found().items()}
    write_proposals(path, {**own, "000005": own["1"], "dir/p": own["2"]})
    read = read_proposals(path)
    assert read.keys() == {*own, "000005", "dir/p"}
    for name, boxes_of in found().items():
        # The surest first.
        np.testing.assert_allclose(read[name], boxes_of[::-1], atol=1e-5)
    np.testing.assert_array_equal(read["000005"], read["1"])


def test_rows_of_cocos_results_in_any_order(tmp_path):
    path = tmp_path / "results.json"
    rows = [(7, (4, 2, 10, 5), 0.1), (3, (0, 0, 1, 1), 1), (7, (1, 2, 3, 4), 0.7)]
    names = ("image_id", "bbox", "score")
    listed = [{**dict(zip(names, row, strict=True)), "category_id": 1} for row in rows]
    path.write_text(json.dumps(listed))
    read = read_proposals(path)
    assert read.keys() == {"3", "7"}
    np.testing.assert_array_equal(read["7"], [[2, 1, 6, 4], [2, 4, 7, 14]])


ROW = {"image_id": 1, "bbox": [0, 0, 2, 2], "score": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no list of proposals, each with image_id"),
        ('{"a": 1}', "is no list of proposals"),
        (json.dumps([{**ROW, "bbox": [1, 2, 3]}]), "is no list of proposals"),
        (json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4]}]), r"KeyError: 'score'"),
        (json.dumps([ROW, {**ROW, "bbox": [0, float("nan"), 1, 1]}]), r"1 \(image_id 1\) is not"),
        (json.dumps([{**ROW, "score": float("inf")}]), "proposal 0 .* is not finite"),
        (json.dumps([{**ROW, "image_id": "x"}]), "none of the 6 pictures of rectangles: .* are x,"),
        ("[]", "none of the 6 pictures of rectangles"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        data.make_proposals(
            data.Sources(Rectangles(), Rectangles()), train=str(path), eval=str(path)
        )


def test_other_bad_files_are_one_clear_line(tmp_path):
    path = tmp_path / "found.npz"
    np.savez(path, image_id=np.arange(2), bbox=np.zeros((3, 4)), score=np.zeros(2))
    with pytest.raises(UserError, match=r"columns of shapes \(2,\), \(3, 4\) and \(2,\)"):
        read_proposals(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="is no list of proposals"):
        read_proposals(path)
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.json"):
        read_proposals(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match=r"proposals\.train and proposals\.eval go together"):
        data.make_proposals(data.Sources(Rectangles(), Rectangles()), train=str(path))
    with pytest.raises(UserError, match=r"boxes\.max_proposals must be at least 1"):
        data.make_boxes(preprocess_of(), max_proposals=0)


@pytest.mark.parametrize("format", WRITERS)
def test_what_pictures_are_called(tmp_path, format):
    WRITERS[format](tmp_path)
    names = {"coco": ("100", "101", "102"), "voc": ("p0", "p1", "p2")}
    expected = names.get(format, ("train/p0", "train/p1", "train/p2"))
    opened = data.open_sources(
        source="boxes",
        root=str(tmp_path),
        name="",
        train_split="",
        eval_split="",
        eval_fraction=0.2,
        cache_mb=1,
        options={"boxes": {"format": format}},
    )
    assert ids_of(opened.train) == ids_of(boxes(tmp_path, "", "", format=format).train) == expected
    assert ids_of(Rectangles()) == ("0", "1", "2", "3", "4", "5")


SIDES = st.floats(-100, 200, width=32)


@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=5))
def test_shares_lie_inside_and_have_an_area(rows):
    given_boxes = np.array(rows, np.float32).reshape(-1, 4)
    shares = as_shares(given_boxes, (40, 60, 3))
    assert ((shares >= 0) & (shares <= 1)).all() and (shares[:, 2:] > shares[:, :2]).all()
    expected = []
    for y0, x0, y1, x1 in given_boxes / np.float32([40, 60, 40, 60]):
        cut = [min(max(side, 0.0), 1.0) for side in (y0, x0, y1, x1)]
        if cut[2] > cut[0] and cut[3] > cut[1]:
            expected.append(cut)
    np.testing.assert_array_equal(shares, np.array(expected, np.float32).reshape(-1, 4))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flip_rate": 1.0},
        {"crop_area_min": 0.5},
        {"shift_fraction": 0.1, "scale_fraction": 0.2, "rotate_degrees": 10.0},
    ],
    ids=str,
)
def test_proposals_move_with_their_images(options):
    """A proposal that is an object's box is that wherever it goes."""
    source = Proposed(Rectangles(), found())
    augment = data.make_by_epoch(data.make_augment(preprocess_of(), **options))
    stream = data.train_batches(source, augment, batch_size=6, seed=1)
    batch = next(stream)
    stream.close()
    assert (batch["proposals"].shape, batch["proposals"].dtype) == ((6, 2000, 4), np.float32)
    compared = 0
    for own, labels, proposed in zip(
        batch["boxes"], batch["box_labels"], batch["proposals"], strict=True
    ):
        real = proposed[(proposed[:, 2:] > proposed[:, :2]).all(axis=1)]
        assert not proposed[len(real) :].any()
        objects = own[labels >= 0]
        if len(real):
            np.testing.assert_allclose(real[: len(objects)], objects, atol=1e-6)
            compared += len(objects)
    assert compared >= 4


def test_an_evaluation_has_them_too():
    source = Proposed(Rectangles(), found())
    preprocess = data.make_boxes(preprocess_of(), max_boxes=3, max_proposals=2)
    first, last = data.eval_batches(source, preprocess, batch_size=4)
    np.testing.assert_allclose(first["proposals"][:2], first["boxes"][:2, :2], atol=1e-6)
    # Of the third picture there is the one over its edges, of the fourth none.
    np.testing.assert_allclose(first["proposals"][2, 0], (1 / 6, 1 / 6, 0.5, 1), atol=1e-6)
    assert not first["proposals"][3].any() and not last["proposals"][2:].any()


def test_a_mosaic_has_those_of_its_four_pictures():
    source = Proposed(Rectangles(), {name: x[:2] for name, x in found().items() if name != "2"})
    preprocess = data.make_boxes(preprocess_of(), max_boxes=9, min_visible=0.0)
    mosaic = data.make_mosaic(data.make_augment(preprocess), rate=1.0).mosaic
    assert mosaic is not None
    made = mosaic(source, 0, np.random.default_rng(2))
    own = {tuple(box) for box in made["boxes"].round(5).tolist()}
    proposed = [tuple(box) for box in made["proposals"].round(5).tolist()]
    # All but those of the fourth picture.
    assert len(proposed) >= 3 and set(proposed) <= own
    assert made["proposals"].dtype == np.float32


def test_how_many_objects_are_covered_against_a_slow_version():
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.uniform(size=(30, 2, 2)), axis=1).reshape(30, 4).astype(np.float32)
    objects, proposals = drawn[:12], drawn[12:]
    labels = np.where(np.arange(12) % 5 == 4, data.unmeasured(0), 0)
    covered = 0
    for box, label in zip(objects, labels, strict=True):
        best = 0.0
        for other in proposals:
            common = np.prod(
                np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
            )
            areas = [np.prod(one[2:] - one[:2]) for one in (box, other)]
            best = max(best, common / (sum(areas) - common))
        covered += label >= 0 and best >= 0.5
    assert 0 < covered < 10
    example = {"image": np.zeros((4, 4, 1), np.uint8), "label": 0}
    example |= {"boxes": objects, "box_labels": labels}
    assert module.num_covered(example, proposals) == (covered, 10)
    assert module.num_covered(example, np.zeros((0, 4), np.float32)) == (0, 10)


def test_more_than_there_is_room_for():
    example = Proposed(Rectangles(), found())[0]
    assert BoxRules(max_proposals=1).moved_proposals(example, ()).shape == (1, 4)
    np.testing.assert_array_equal(
        BoxRules(max_proposals=1).moved_proposals(example, ()), example["proposals"][:1]
    )


@pytest.mark.parametrize("quality", [False, True])
def test_selective_search_finds_what_is_alike(quality):
    image = np.full((60, 80, 3), 60, np.uint8)
    objects = np.array([[10, 10, 40, 30], [20, 45, 50, 70]], np.float32)
    for (y0, x0, y1, x1), colour in zip(
        objects.astype(int), ((220, 40, 40), (30, 200, 90)), strict=True
    ):
        image[y0:y1, x0:x1] = colour
    found = selective_search(image, quality=quality)
    example = {"image": image, "label": 0, "boxes": as_shares(objects, image.shape)}
    example["box_labels"] = np.zeros(2, np.int64)
    assert module.num_covered(example, as_shares(found.boxes, image.shape)) == (2, 2)
    assert len({tuple(box) for box in found.boxes.tolist()}) == len(found.boxes)
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    again = selective_search(image, quality=quality)
    np.testing.assert_array_equal(found.boxes, again.boxes)
    np.testing.assert_array_equal(found.scores, again.scores)


def test_a_picture_of_one_colour_is_one_proposal():
    found = selective_search(np.zeros((5, 7, 1), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 5, 7]])
    np.testing.assert_array_equal(found.scores, [1])


def test_without_opencv_it_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[proposals\]'"):
        check_installed()
