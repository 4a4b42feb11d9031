"""Four pictures in one, with their boxes."""

import numpy as np
import pytest

from cnn import data
from cnn.errors import UserError

LEVELS = (50, 90, 160, 220)
GRAY = 114


class Flat:
    """Pictures of one level each, wider than high, with a box around a white middle."""

    labels = np.zeros(4, np.int64)
    info = data.SourceInfo("flat", ("a", "b", "c", "d"), "boxes")

    def __len__(self):
        return 4

    def __getitem__(self, index, /):
        image = np.full((20, 40, 1), LEVELS[index], np.uint8)
        image[5:15, 10:30] = 255
        box = np.float32([[0.25, 0.25, 0.75, 0.75]])
        return {"image": image, "label": 0, "boxes": box, "box_labels": np.array([index])}


def augment_of(**mosaic):
    made = data.make_preprocess(image_size=40, channels=1, mean=(0.0,), std=(1.0,))
    augment = data.make_augment(data.make_boxes(made, max_boxes=4))
    return data.make_mosaic(augment, **mosaic)


def test_boxes_lie_where_their_pictures_do():
    mosaic, rng = augment_of(rate=1.0).mosaic, np.random.default_rng(0)
    seen = set()
    for index in range(40):
        found = mosaic(Flat(), index % 4, rng)
        image, labels = found["image"][..., 0], found["box_labels"].tolist()
        assert image.shape == (80, 80)
        assert set(np.unique(image)) <= {GRAY, 255, *LEVELS}
        for box, label in zip(found["boxes"], labels, strict=True):
            y0, x0, y1, x1 = np.round(box * 80).astype(int)
            assert (image[y0:y1, x0:x1] == 255).all()
            assert 0 < (y1 - y0) * (x1 - x0) <= 200
            # Above and below the white is the picture's own level.
            around = {int(image[y, x0]) for y in (y0 - 1, y1) if 0 <= y < 80}
            assert around <= {LEVELS[label]}
        # A box goes whose picture is nearly outside.
        assert (image == 255).sum() <= sum(
            np.prod(np.round((box[2:] - box[:2]) * 80)) for box in found["boxes"]
        ) + 4 * 0.25 * 200
        seen.add(tuple(labels))
    assert len(seen) > 10


def test_of_too_many_objects_the_largest_stay():
    mosaic, rng = augment_of(rate=1.0).mosaic, np.random.default_rng(1)
    few = mosaic._replace(rules=mosaic.rules._replace(max_boxes=2))
    every = mosaic(Flat(), 0, np.random.default_rng(1))["boxes"]
    kept = few(Flat(), 0, rng)["boxes"]
    assert len(every) > len(kept) == 2
    areas = [np.sort(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)) for boxes in (every, kept)]
    np.testing.assert_array_equal(areas[0][-2:], areas[1])


def test_an_epoch_s_batches_are_a_function_of_seed_and_step():
    made = data.make_by_epoch(augment_of(rate=0.5))
    streams = [
        data.train_batches(Flat(), made, batch_size=4, seed=0, num_threads=n, start_step=s)
        for n, s in ((0, 0), (2, 1))
    ]
    next(streams[0])
    first, second = (next(stream) for stream in streams)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert (first["box_labels"] >= 0).sum() > 4
    for stream in streams:
        stream.close()


def test_the_last_epochs_see_pictures():
    made = data.make_by_epoch(augment_of(rate=1.0, until_epoch=2), sizes_px=(24,), from_epochs=(0,))
    assert made.augments[0].mosaic.image_size == 24
    counts = []
    for epoch in (1, 2):
        seen = made.at(0, epoch, 4)(Flat(), 0, np.random.default_rng(0))
        counts.append(int((seen["box_labels"] >= 0).sum()))
    assert counts[0] > 1 == counts[1]


def test_off_is_nothing_and_mistakes_are_one_clear_line():
    assert augment_of().mosaic is None
    with pytest.raises(UserError, match=r"mosaic.rate must be between 0 and 1 .* got 1.5 and 0"):
        augment_of(rate=1.5)
