from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cnn.data import distort, policies

PHOTO = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).filter(
        ImageFilter.GaussianBlur(1)
    )
)
CHANGES = {
    "rand_augment": policies.rand_augment(2, 9.0),
    "original": policies.rand_augment(2, 9.0, increasing=False),
    "rand_augment_timm": policies.rand_augment_timm(2, 9.0),
    "trivial_augment_wide": policies.trivial_augment_wide(),
    "auto_augment": policies.auto_augment(),
    "augmix": policies.augmix(),
    "three_augment": policies.three_augment,
    "color_jitter": policies.color_jitter((0.4, 0.4, 0.4, 0.1)),
    "random_erasing": policies.random_erasing,
    "cutout": lambda image, rng: policies.cutout(image, rng, 9),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_function_of_image_and_generator_that_changes_most_images(name, channels) -> None:
    image, change = PHOTO[:, :, :channels], CHANGES[name]
    before, changed, results = image.copy(), 0, set()
    for seed in range(60):
        got = change(image, rng(seed))
        assert (got.shape, got.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(got, change(image, rng(seed)))
        changed += not np.array_equal(got, image)
        results.add(got.tobytes())
    np.testing.assert_array_equal(image, before)
    assert changed > 30
    assert len(results) > (20 if channels == 3 else 12)


def drawn(monkeypatch, change, count=1500):
    """The amounts with which each operation was called."""
    calls: dict[str, list[float]] = {}

    def spied(name):
        def op(image, amount=0.0):
            calls.setdefault(name, []).append(amount)
            return image

        return op

    names = [n for n in vars(distort) if callable(getattr(distort, n)) and n.islower()]
    ops = {n: spied(n) for n in names if not n.startswith("_") and n != "by_pillow"}
    for name, op in ops.items():
        monkeypatch.setattr(distort, name, op)
    made, generator = change(), rng()
    for _ in range(count):
        made(np.zeros((331, 662, 1), np.uint8), generator)
    return calls


def test_rand_augment_draws_torchvisions_operations_and_amounts(monkeypatch) -> None:
    calls = drawn(monkeypatch, lambda: policies.rand_augment(2, 15.0))
    counts = Counter({name: len(amounts) for name, amounts in calls.items()})
    assert len(counts) == 14
    assert sum(counts.values()) == 3000
    # Binomial(3000, 1/14): five standard deviations are 71.
    assert all(abs(count - 214) < 71 for count in counts.values())
    amounts = {name: sorted({round(a, 6) for a in values}) for name, values in calls.items()}
    assert amounts["shear_x"] == [-0.15, 0.15]
    assert amounts["rotate"] == [-15, 15]
    assert amounts["translate_x"] == [-150, 150]
    assert amounts["translate_y"] == [-75, 75]
    assert amounts["brightness"] == amounts["sharpness"] == [-0.45, 0.45]
    assert amounts["posterize"] == [6]
    assert amounts["solarize"] == [127.5]


def test_the_original_is_strongest_at_the_lower_end(monkeypatch) -> None:
    calls = drawn(monkeypatch, lambda: policies.rand_augment(2, 3.0, increasing=False))
    amounts = {name: sorted({round(a, 6) for a in values}) for name, values in calls.items()}
    assert amounts["posterize"] == [0]
    assert amounts["solarize"] == [25.6]
    assert amounts["brightness"] == [-0.72]


def test_timms_operations_happen_half_of_the_time_with_a_strength_about_the_magnitude(
    monkeypatch,
) -> None:
    calls = drawn(monkeypatch, lambda: policies.rand_augment_timm(2, 5.0))
    assert len(calls) == 15
    assert "identity" not in calls
    # Binomial(3000, 1/30): five standard deviations are 50.
    assert all(abs(len(amounts) - 100) < 50 for amounts in calls.values())
    turned = np.abs(calls["rotate"])
    # Normal about 15 degrees with a deviation of 1.5; four standard errors of about 100.
    assert abs(turned.mean() - 15) < 0.6
    assert 0.9 < turned.std() < 2.1
    assert np.abs(calls["brightness"]).mean() == pytest.approx(0.45, abs=0.03)
    assert np.abs(calls["translate_x"]).mean() == pytest.approx(0.225 * 662, rel=0.06)
    assert set(calls["posterize"]) <= {2.0, 3.0}
    assert np.mean(calls["solarize"]) == pytest.approx(128, abs=8)
    assert np.mean(calls["solarize_add"]) == pytest.approx(55, abs=4)


def test_timms_strength_stays_within_its_scale(monkeypatch) -> None:
    calls = drawn(monkeypatch, lambda: policies.rand_augment_timm(2, 10.0))
    assert np.abs(calls["rotate"]).max() == 30
    assert min(calls["posterize"]) == min(calls["solarize"]) == 0


def test_trivial_augment_is_wide(monkeypatch) -> None:
    calls = drawn(monkeypatch, policies.trivial_augment_wide, 6000)
    assert sum(map(len, calls.values())) == 6000
    assert len(calls) == 14
    for name, low, high in (
        ("shear_x", -0.99, 0.99),
        ("translate_x", -32, 32),
        ("rotate", -135, 135),
        ("contrast", -0.99, 0.99),
        ("posterize", 2, 8),
        ("solarize", 0, 255),
    ):
        assert min(calls[name]) == pytest.approx(low)
        assert max(calls[name]) == pytest.approx(high)
        # 31 strengths; the sign doubles all but 0.
        assert len({round(a, 6) for a in calls[name]}) in (
            (7,) if name == "posterize" else (31, 61)
        )


def test_auto_augment_follows_its_table(monkeypatch) -> None:
    assert len(policies.IMAGENET_POLICY) == 25
    calls = drawn(monkeypatch, policies.auto_augment, 5000)
    rates: Counter[str] = Counter()
    for pair in policies.IMAGENET_POLICY:
        for name, rate, _ in pair:
            rates[name] += rate / 25
    assert set(calls) == set(rates)
    for name, rate in rates.items():
        assert abs(len(calls[name]) / 5000 - rate) < 5 * np.sqrt(rate / 5000)
    assert {round(abs(a), 6) for a in calls["rotate"]} == {10.0, 26.666667, 30.0}
    assert {round(a, 6) for a in calls["posterize"]} == {4, 5, 6}


def test_augmix_without_strength_is_the_image() -> None:
    flat = np.full((20, 20, 3), 100, np.uint8)
    gentle = policies.augmix(severity=1)
    assert np.abs(gentle(flat, rng()).astype(int) - flat).max() <= 100
    mean = np.mean([policies.augmix()(PHOTO, rng(s)) for s in range(100)], 0)
    # The mean mixture is half the image itself.
    assert np.corrcoef(mean.ravel(), PHOTO.ravel())[0, 1] > 0.8


def test_three_augment_draws_each_third() -> None:
    gray, sun = distort.grayscale(PHOTO), distort.solarize(PHOTO, 128.0)
    counts = Counter()
    generator = rng()
    for _ in range(600):
        got = policies.three_augment(PHOTO, generator)
        counts["g" if np.array_equal(got, gray) else "s" if np.array_equal(got, sun) else "b"] += 1
    # Binomial(600, 1/3): five standard deviations are 58.
    assert all(abs(counts[kind] - 200) < 58 for kind in "gsb")


def test_color_jitter_stays_within_its_strengths() -> None:
    flat = np.full((2, 2, 3), 100, np.uint8)
    levels = [
        policies.color_jitter((0.4, 0.0, 0.0, 0.0))(flat, rng(s))[0, 0, 0] for s in range(300)
    ]
    assert 60 <= min(levels) < 65
    assert 135 < max(levels) <= 140
    strong = [
        policies.color_jitter((2.0, 0.0, 0.0, 0.0))(flat, rng(s))[0, 0, 0] for s in range(300)
    ]
    assert min(strong) < 10
    assert max(strong) > 240
    np.testing.assert_array_equal(policies.color_jitter((0.0, 0.0, 0.0, 0.0))(PHOTO, rng()), PHOTO)


def test_random_erasing_has_the_areas_and_ratios_asked_for() -> None:
    blank = np.zeros((100, 100, 1), np.uint8)
    shares, ratios = [], []
    for seed in range(400):
        rows, columns = np.nonzero(policies.random_erasing(blank, rng(seed))[:, :, 0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        shares.append(height * width / 1e4)
        ratios.append(height / width)
    assert 0.015 < min(shares) < 0.04
    assert 0.3 < max(shares) < 0.34
    assert 0.27 < min(ratios) < 0.4
    assert 2.7 < max(ratios) < 3.6
    tiny = np.zeros((1, 1, 1), np.uint8)
    np.testing.assert_array_equal(policies.random_erasing(tiny, rng()), tiny)


def test_cutout_is_a_square_that_the_border_may_cut() -> None:
    blank = np.zeros((20, 30, 1), np.uint8)
    areas = []
    for seed in range(300):
        got = policies.cutout(blank, rng(seed), 8)
        assert set(np.unique(got)) == {0, 128}
        areas.append((got > 0).sum())
    assert max(areas) == 64
    assert min(areas) < 40
