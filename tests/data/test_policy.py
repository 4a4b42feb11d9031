import itertools

import numpy as np
import pytest
from PIL import Image

from cnn.data.augment import make_augment
from cnn.data.folder import folder
from cnn.data.pipeline import Host, train_batches
from cnn.data.policy import make_policy
from cnn.data.sampling import Subset, make_sampling
from cnn.data.transforms import make_preprocess
from cnn.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
PLAIN = make_preprocess(image_size=16, channels=3, mean=(0.0,), std=(1 / 255,))
NAMES = [
    "rand_augment",
    "rand_augment_timm",
    "trivial_augment_wide",
    "auto_augment",
    "augmix",
    "three_augment",
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_none_is_the_transform_without_it() -> None:
    assert make_policy(PLAIN) == PLAIN


@pytest.mark.parametrize("changes", [*({"name": n} for n in NAMES), {"erase_rate": 1.0}])
def test_training_images_are_changed_and_those_of_evaluation_not(changes) -> None:
    options = {"magnitude": 3.0, **changes}
    preprocess = make_policy(PLAIN, **options)
    augment = make_augment(preprocess)
    results = [augment(PHOTO, rng(seed)) for seed in range(20)]
    assert sum(not np.array_equal(np.round(r), PHOTO) for r in results) > 8
    np.testing.assert_array_equal(preprocess(PHOTO), PLAIN(PHOTO))
    np.testing.assert_array_equal(results[3], augment(PHOTO, rng(3)))


def test_all_together_in_their_order() -> None:
    preprocess = make_policy(
        PLAIN,
        name="rand_augment",
        num_ops=0,
        color_jitter=(0.5, 0.0, 0.0, 0.0),
        erase_rate=1.0,
        cutout_px=6,
    )
    got = np.round(make_augment(preprocess)(np.full((16, 16, 3), 50, np.uint8), rng()))
    assert (got == 128).any()
    assert len(np.unique(got)) > 5


def test_erase_rate_is_a_probability() -> None:
    augment = make_augment(make_policy(PLAIN, erase_rate=0.25))
    generator = rng()
    count = sum(not np.array_equal(np.round(augment(PHOTO, generator)), PHOTO) for _ in range(1000))
    # Binomial(1000, 1/4): five standard deviations are 68.
    assert 182 < count < 318


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "randaugment"}, "did you mean 'rand_augment'"),
        ({"color_jitter": (0.1, 0.1)}, "takes brightness, contrast, saturation and hue"),
        ({"color_jitter": (0.1, 0.1, 0.1, 0.6)}, "hue at most 0.5"),
        ({"magnitude": 31.0}, "magnitude between 0 and 30"),
        ({"name": "rand_augment", "magnitude": 31.0}, "magnitude between 0 and 30"),
        ({"name": "rand_augment", "magnitude": 61.0, "increasing": False}, "between 0 and 60"),
        ({"name": "rand_augment_timm", "magnitude": 11.0}, "magnitude between 0 and 10"),
        ({"erase_rate": 1.1}, "erase_rate between 0 and 1"),
        ({"cutout_px": -1}, "cutout_px must be at least 0"),
        ({"name": "augmix", "magnitude": 0.0}, "of augmix must be in"),
    ],
)
def test_values_out_of_range_are_refused(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        make_policy(PLAIN, **changes)


def test_batches_of_files_are_the_same_however_they_are_read(tmp_path) -> None:
    """Decoding, crops, a policy and erasing: any threads, hosts, and step to begin with."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(13):
            pixels = rng(i).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg", quality=90)
    # A fault that training passes over.
    (tmp_path / "a" / "x.jpg").write_bytes(b"")
    preprocess = make_preprocess(image_size=16, channels=3, mean=(0.5,), std=(0.2,))
    augment = make_augment(
        make_policy(preprocess, name="rand_augment", color_jitter=(0.2,) * 4, erase_rate=0.5),
        crop_area_min=0.2,
        flip_rate=0.5,
    )
    source = folder(tmp_path, "", "", 0.2).train
    broken = [path.name for path in source._paths].index("x.jpg")
    whole = [i for i in range(len(source)) if i != broken]

    def batches(count, **options):
        # A new source each time, which knows of no fault yet; it is less than one in a hundred.
        fresh = make_sampling(Subset(source, [*whole * 6, broken]), repeats=2)
        made = train_batches(fresh, augment, batch_size=8, seed=0, **options)
        return np.stack([batch["image"] for batch in itertools.islice(made, count)])

    want = batches(30, num_threads=0)
    np.testing.assert_array_equal(batches(30, num_threads=4), want)
    np.testing.assert_array_equal(batches(13, num_threads=2, start_step=17), want[17:])
    for host_count in (2, 8):
        slices = [batches(6, num_threads=1, host=Host(i, host_count)) for i in range(host_count)]
        np.testing.assert_array_equal(np.concatenate(slices, 1), want[:6])
