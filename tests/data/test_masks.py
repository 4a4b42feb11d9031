import contextlib

import numpy as np
import pytest
from PIL import Image

from cnn import data
from cnn.data.masks import masks
from cnn.errors import UserError
from cnn.report import overlay

SHAPE = (20, 30)


def mask_of(index):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2 : 4 + index, 5:9] = 1 + index % 2
    mask[0] = data.IGNORED
    return mask


def write(root, names, split=""):
    for index, name in enumerate(names):
        image, mask = (root / kind / split / name for kind in ("images", "masks"))
        image.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((*SHAPE, 3), 10 * index, np.uint8)
        Image.fromarray(pixels).save(image.with_suffix(".bmp"))
        overlay.save_mask(mask.with_suffix(".png"), mask_of(index))
    (root / "classes.txt").write_text("nothing\ncat\ndog\n")


def opened(root, train="", held_out="", fraction=0.25, **options):
    return masks(root, train, held_out, fraction, **options)


def test_palettes_are_numbers_of_classes(tmp_path):
    write(tmp_path, "abcd")
    sources = opened(tmp_path)
    assert (len(sources.train), len(sources.eval)) == (3, 1)
    assert sources.train.info.class_names == ("nothing", "cat", "dog")
    for source in sources:
        for index in range(len(source)):
            example = source[index]
            number = example["image"][0, 0, 0] // 10
            np.testing.assert_array_equal(example["mask"], mask_of(number))


def test_folders_and_lists_are_splits(tmp_path):
    write(tmp_path, "ab", "train")
    write(tmp_path, "cde", "val")
    sources = opened(tmp_path)
    assert (len(sources.train), len(sources.eval)) == (2, 3)
    (tmp_path / "few.txt").write_text("val/e\n\ntrain/a\n")
    sources = opened(tmp_path, "few.txt", "val", class_names=("x", "y", "z"))
    assert [int(sources.train[i]["image"][0, 0, 0]) for i in (0, 1)] == [20, 0]
    assert sources.train.info.class_names == ("x", "y", "z")


def test_a_batch_moves_masks_with_their_images(tmp_path):
    write(tmp_path, "abcdefgh")
    source = opened(tmp_path).train
    preprocess = data.make_preprocess(
        image_size=24, channels=3, mean=(0.0,), std=(1.0,), resize="letterbox"
    )
    augment = data.make_augment(preprocess, flip_rate=0.5, rotate_degrees=20.0)
    augment = data.make_borders(augment, weight=10.0, sigma_px=3.0)
    made = data.make_by_epoch(augment)
    stream = data.train_batches(source, made, batch_size=4, seed=0)
    with contextlib.closing(stream) as batches:
        batch = next(batches)
    assert batch.keys() == {"image", "mask", "pixel_weight", "weight"}
    assert (batch["mask"].shape, batch["mask"].dtype) == ((4, 24, 24), np.uint8)
    assert (batch["pixel_weight"] >= 1).all()
    (last,) = data.eval_batches(source, preprocess, batch_size=8)
    assert last["weight"].tolist() == [1] * 6 + [0, 0]
    assert (last["mask"][6:] == data.IGNORED).all()
    # The letterbox shows nothing above and below.
    assert (last["mask"][:6, :4] == data.IGNORED).all()
    assert set(np.unique(last["mask"][:6])) == {0, 1, 2, data.IGNORED}
    with pytest.raises(UserError, match=r"evaluation.views must be 'center'"):
        list(data.eval_batches(source, data.make_views(preprocess, "flip"), batch_size=8))


def test_an_image_without_a_mask_is_one_clear_line(tmp_path):
    write(tmp_path, "abcd")
    (tmp_path / "masks" / "c.png").unlink()
    with pytest.raises(UserError, match=r"1 of 3 images have no mask, first .*c.bmp.* no .*c.png"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: overlay.save_mask(path, np.zeros((5, 6), np.uint8)), r"5x6 .* 20x30; both"),
        (
            lambda path: overlay.save_mask(path, np.full(SHAPE, 7, np.uint8)),
            "pixels of class 7, but there are 3 classes, 0 to 2",
        ),
        (lambda path: Image.new("RGB", SHAPE[::-1]).save(path), "pixels of mode RGB"),
        (lambda path: path.write_bytes(b"no"), "cannot read the mask .*a.png: not an image"),
    ],
)
def test_a_spoilt_mask_is_one_clear_line(tmp_path, spoil, message):
    write(tmp_path, "ab", "train")
    write(tmp_path, "c", "val")
    spoil(tmp_path / "masks" / "train" / "a.png")
    source = opened(tmp_path).train
    with pytest.raises(UserError, match=message) as caught:
        source[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "trian"}, "no folder 'trian'"),
        ({"train": "few.txt"}, "no file 'few.txt'"),
        ({"images": "pictures"}, "no folder 'pictures'"),
        ({"fraction": 1.0}, "data.eval_fraction must be"),
    ],
)
def test_what_is_missing_is_named(tmp_path, arguments, message):
    write(tmp_path, "ab")
    with pytest.raises(UserError, match=message):
        opened(tmp_path, **arguments)


def test_classes_need_names(tmp_path):
    write(tmp_path, "ab")
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(UserError, match=r"no classes.txt in"):
        opened(tmp_path)
