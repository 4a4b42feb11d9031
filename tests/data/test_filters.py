import numpy as np
import pytest

from cnn.data import distort
from cnn.data.augment import make_augment
from cnn.data.filters import make_filters
from cnn.data.policy import make_policy
from cnn.data.transforms import make_preprocess
from cnn.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
PLAIN = make_preprocess(image_size=16, channels=3, mean=(0.0,), std=(1 / 255,))


def seen(preprocess, seed: int = 0, image=PHOTO) -> np.ndarray:
    augment = make_augment(preprocess)
    return np.round(augment(image, np.random.default_rng(seed))).astype(np.uint8)


def test_off_adds_nothing() -> None:
    assert make_filters(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"grayscale_rate": 1.0}, distort.grayscale(PHOTO)),
        ({"solarize_rate": 1.0, "solarize_level": 100}, distort.solarize(PHOTO, 100.0)),
        ({"blur_rate": 1.0, "blur_sigma_px": (1.5, 1.5)}, distort.gaussian_blur(PHOTO, 1.5)),
    ],
)
def test_each_is_usable_by_itself(options, want) -> None:
    np.testing.assert_array_equal(seen(make_filters(PLAIN, **options)), want)
    assert not np.array_equal(want, PHOTO)


def test_the_blur_is_as_wide_as_drawn() -> None:
    filters = make_filters(PLAIN, blur_rate=1.0, blur_sigma_px=(0.2, 3.0))
    spread = [seen(filters, seed).std() for seed in range(200)]
    narrow, wide = (distort.gaussian_blur(PHOTO, sigma).std() for sigma in (0.2, 3.0))
    assert wide <= min(spread) < wide + 2
    assert narrow - 2 < max(spread) <= narrow


@pytest.mark.parametrize("name", ["grayscale", "blur", "solarize"])
def test_rates_are_probabilities(name) -> None:
    filters = make_filters(PLAIN, **{f"{name}_rate": 0.2})
    count = sum(not np.array_equal(seen(filters, seed), PHOTO) for seed in range(1000))
    # Binomial(1000, 1/5): five standard deviations are 64. A narrow blur changes nothing.
    assert (100 if name == "blur" else 136) < count < 264


def test_pca_noise_moves_all_pixels_along_the_colours_of_imagenet() -> None:
    gray = np.full((16, 16, 3), 128, np.uint8)
    shifts = np.array(
        [seen(make_filters(PLAIN, pca_noise=0.1), seed, gray)[3, 5] for seed in range(400)], float
    )
    one = seen(make_filters(PLAIN, pca_noise=0.1), 7, gray)
    assert (one == one[0, 0]).all()
    # The first component has a deviation of 255 * 0.1 * 0.2175 = 5.55 levels, nearly gray; five
    # standard errors of 400 are 18 %. Levels are rounded, which adds 1/12 to each variance.
    values, vectors = np.linalg.eigh(np.cov(shifts.T))
    assert np.sqrt(values[-1]) == pytest.approx(5.55, rel=0.18)
    assert np.abs(vectors[:, -1]) == pytest.approx([0.57, 0.58, 0.58], abs=0.05)
    assert np.sqrt(values[-2]) < 1
    np.testing.assert_allclose(shifts.mean(0), 128, atol=0.9)
    single = make_preprocess(image_size=16, channels=1, mean=(0.0,), std=(1 / 255,))
    unmoved = seen(make_filters(single, pca_noise=0.5), image=PHOTO[:, :, :1])
    np.testing.assert_array_equal(unmoved, PHOTO[:, :, :1])


def test_they_come_after_the_policy_and_before_anything_is_erased() -> None:
    policy = make_policy(PLAIN, color_jitter=(0.0, 0.0, 0.0, 0.5), cutout_px=8)
    got = seen(make_filters(policy, grayscale_rate=1.0, solarize_rate=1.0), 3)
    # Solarised, the level 128 of cutout would be 127; jittered later, gray might have colours.
    assert (got == 128).all(-1).sum() > 8
    assert np.ptp(got, axis=-1).max() == 0
    plain = make_filters(PLAIN, grayscale_rate=1.0, solarize_rate=1.0)
    want = distort.solarize(distort.grayscale(PHOTO), 128.0)
    np.testing.assert_array_equal(seen(plain), want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grayscale_rate": 1.5}, r"filters.grayscale_rate must be between 0 and 1, got 1.5"),
        ({"blur_rate": -0.1}, r"filters.blur_rate must be between"),
        ({"blur_sigma_px": (2.0, 1.0)}, r"the smallest and the largest deviation"),
        ({"blur_sigma_px": (0.0, 1.0)}, r"above 0; got \(0.0, 1.0\)"),
        ({"solarize_level": 257}, r"filters.solarize_level must be between 0 and 256, got 257"),
        ({"pca_noise": -0.1}, r"filters.pca_noise must be at least 0, got -0.1"),
    ],
)
def test_errors(options, message) -> None:
    with pytest.raises(UserError, match=message):
        make_filters(PLAIN, **options)
