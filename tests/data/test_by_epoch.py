import itertools

import numpy as np
import pytest

from cnn.data.augment import alternating_flip, make_augment
from cnn.data.by_epoch import make_by_epoch
from cnn.data.contract import ArraySource, SourceInfo
from cnn.data.pipeline import train_batches
from cnn.data.policy import make_policy
from cnn.data.transforms import make_preprocess
from cnn.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 16, 16, 1), np.uint8)
SOURCE = ArraySource(IMAGES, np.arange(20), SourceInfo("x", ("a",)))
PLAIN = make_preprocess(image_size=16, channels=1, mean=(0.0,), std=(1 / 255,))


def batches(augment, count, **options):
    made = train_batches(SOURCE, augment, batch_size=5, seed=7, **options)
    return list(itertools.islice(made, count))


def same(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_off_gives_the_batches_without_it() -> None:
    augment = make_augment(PLAIN, pad_px=2, flip_rate=0.5)
    same(batches(make_by_epoch(augment), 9), batches(augment, 9))


def test_flips_alternate_by_example() -> None:
    augment = make_by_epoch(make_augment(PLAIN), alternate_flips=True)
    flipped = np.zeros((3, 20), bool)
    for step, batch in enumerate(batches(augment, 12)):
        for image, label in zip(np.round(batch["image"]), batch["label"], strict=True):
            flipped[step // 4, label] = np.array_equal(image, IMAGES[label, :, ::-1])
            assert flipped[step // 4, label] or np.array_equal(image, IMAGES[label])
    for epoch in range(3):
        np.testing.assert_array_equal(flipped[epoch], alternating_flip(7, epoch, 20))
    assert 0 < flipped[0].sum() < 20


def test_sizes_follow_the_epochs_and_a_run_resumes_in_any_of_them() -> None:
    policy = make_policy(PLAIN, cutout_px=4)
    augment = make_by_epoch(
        make_augment(policy, pad_px=1), sizes_px=(8, 12, 20), from_epochs=(0, 1, 3)
    )
    assert augment.sizes_px == (8, 12, 20)
    whole = batches(augment, 20)
    sizes = [batch["image"].shape[1:3] for batch in whole]
    assert sizes == [(8, 8)] * 4 + [(12, 12)] * 8 + [(20, 20)] * 8
    # Cutout is still there: its gray, on every image.
    assert all((np.round(image) == 128).any() for batch in whole for image in batch["image"])
    for start in (3, 4, 6, 12, 13):
        same(batches(augment, 20 - start, start_step=start, num_threads=2), whole[start:])


@pytest.mark.parametrize(
    ("flip_rate", "options", "message"),
    [
        (0.5, {"alternate_flips": True}, "set augment.flip_rate=0"),
        (0.0, {"sizes_px": (8, 12)}, r"got \(8, 12\) and \(\)"),
        (0.0, {"sizes_px": (8, 12), "from_epochs": (0,)}, "names the first epoch of each"),
        (0.0, {"sizes_px": (8, 12), "from_epochs": (1, 2)}, "rising from 0"),
        (0.0, {"sizes_px": (8, 12), "from_epochs": (0, 0)}, "rising from 0"),
        (0.0, {"sizes_px": (0,), "from_epochs": (0,)}, "no image of 0 pixels"),
    ],
)
def test_errors(flip_rate, options, message) -> None:
    with pytest.raises(UserError, match=message):
        make_by_epoch(make_augment(PLAIN, flip_rate=flip_rate), **options)
