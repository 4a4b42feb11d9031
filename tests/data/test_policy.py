import numpy as np
import pytest

from cnn.data.augment import make_augment
from cnn.data.policy import make_policy
from cnn.data.transforms import make_preprocess
from cnn.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
PLAIN = make_preprocess(image_size=16, channels=3, mean=(0.0,), std=(1 / 255,))
NAMES = ["rand_augment", "trivial_augment_wide", "auto_augment", "augmix", "three_augment"]


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
        ({"erase_rate": 1.1}, "erase_rate between 0 and 1"),
        ({"cutout_px": -1}, "cutout_px must be at least 0"),
        ({"name": "augmix", "magnitude": 0.0}, "of augmix must be in"),
    ],
)
def test_values_out_of_range_are_refused(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        make_policy(PLAIN, **changes)
