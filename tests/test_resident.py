"""Images on the devices: the same order as from the host, flips, crops, resuming, any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import data, resident
from cnn.errors import UserError
from cnn.feed import ResidentFeed
from tests import tiny
from tests.test_train import assert_same_checkpoint, lines, run, saved

OFF = {
    "crop_area_min": 0.0,
    "crop_ratio_max": 4 / 3,
    "flip_rate": 0.0,
    "pad_px": 0,
    "rotate_degrees": 0.0,
    "shift_fraction": 0.0,
    "scale_fraction": 0.0,
}
ON = {"enabled": True, "steps_per_dispatch": 1}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (37, 6, 6, 3), np.uint8)
SOURCE = data.ArraySource(IMAGES, np.arange(37), data.SourceInfo("pictures", ("a",)))
PREPROCESS = data.make_preprocess(image_size=6, channels=3, mean=[0.5, 0.4, 0.3], std=[0.2])


def made(augment=None, preprocess=PREPROCESS, **settings):
    augment = {**OFF, **(augment or {})}
    section = {"enabled": True, "alternate_flips": False, **settings}
    return resident.make_resident(preprocess, augment, ([0.5, 0.4, 0.3], [0.2]), **section)


def batches(count, settings=None, *, seed=3, start_step=0, strategy=None, source=SOURCE):
    """The first batches of 8 that steps see, as NumPy arrays."""
    settings = settings or made()
    strategy = strategy or tiny.experiment().strategy
    feed = ResidentFeed(
        settings,
        source,
        strategy,
        preprocess=PREPROCESS,
        seed=seed,
        batch_size=8,
        start_step=start_step,
        num_threads=2,
    )
    found = []
    while len(found) < count:
        block, steps = feed.take(count - len(found), None)
        assert steps == settings.num_steps(block)
        found += [jax.device_get(settings.batch(block, i, *feed.shared)) for i in range(steps)]
    return found


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_order_labels_and_pixels_are_those_of_the_host():
    host = data.train_batches(SOURCE, lambda x, _: PREPROCESS(x), batch_size=8, seed=3)
    for found in batches(10):
        # No example is padding, so the batch has no weights.
        want = {name: x for name, x in next(host).items() if name != "weight"}
        assert found.keys() == want.keys()
        np.testing.assert_array_equal(found["label"], want["label"])
        np.testing.assert_allclose(found["image"], want["image"], rtol=1e-6, atol=1e-6)
        assert {k: v.dtype for k, v in found.items()} == {k: v.dtype for k, v in want.items()}
    host.close()


def test_what_is_drawn_is_drawn_here_too():
    source = data.make_sampling(SOURCE, repeats=2)
    labels = np.concatenate([batch["label"] for batch in batches(4, source=source)])
    np.testing.assert_array_equal(labels[::2], labels[1::2])


AUGMENTED = {"flip_rate": 0.5, "pad_px": 2}


@pytest.mark.parametrize("start_step", [1, 3, 4, 9])
def test_a_run_that_starts_at_a_step_gets_the_batches_of_the_unbroken_one(start_step):
    whole = batches(12, made(AUGMENTED))
    assert_same(
        batches(12 - start_step, made(AUGMENTED), start_step=start_step), whole[start_step:]
    )


def test_steps_in_a_call_change_nothing():
    whole = batches(12, made(AUGMENTED))
    for steps_per_dispatch in (3, 5, 20):
        settings = made(AUGMENTED, steps_per_dispatch=steps_per_dispatch)
        assert_same(batches(12, settings), whole)


def test_seeds_epochs_and_examples_are_augmented_differently():
    plain = np.concatenate([batch["image"] for batch in batches(8)])
    found = np.concatenate([batch["image"] for batch in batches(8, made({"pad_px": 3}))])
    other = np.concatenate([batch["image"] for batch in batches(8, made({"pad_px": 3}), seed=4)])
    assert (found != plain).any((1, 2, 3)).mean() > 0.8
    # 49 places, of which only one is the middle.
    labels = [np.concatenate([b["label"] for b in batches(8)[4 * e : 4 * e + 4]]) for e in (0, 1)]
    both = np.intersect1d(*labels)
    first, second = (found[32 * e + np.argsort(labels[e])] for e in (0, 1))
    places = [np.isin(np.sort(labels[e]), both) for e in (0, 1)]
    assert (first[places[0]] != second[places[1]]).any((1, 2, 3)).mean() > 0.8
    assert not np.array_equal(found, other)


def of(images, augment, flips=None, **settings):
    keys = jax.random.split(jax.random.key(0), len(images))
    changed = made(augment, **settings).augment(jnp.asarray(images), keys, flips)
    return np.asarray(changed)


def normalised(images):
    return np.stack([PREPROCESS.normalise(image) for image in images])


def test_flips_are_left_to_right_at_their_rate():
    images = np.broadcast_to(IMAGES[:1], (2000, 6, 6, 3))
    found = of(images, {"flip_rate": 0.25})
    turned = normalised(IMAGES[:1, :, ::-1])[0]
    straight = normalised(IMAGES[:1])[0]
    is_turned = np.isclose(found, turned, atol=1e-5).all((1, 2, 3))
    assert (is_turned | np.isclose(found, straight, atol=1e-5).all((1, 2, 3))).all()
    # Binomial(2000, 1/4): five standard deviations are 0.048.
    assert abs(is_turned.mean() - 0.25) < 0.048


def test_alternating_flips_are_those_of_the_host():
    settings = made(alternate_flips=True)
    plain = batches(12)
    for step, found in enumerate(batches(12, settings)):
        flips = data.alternating_flip(3, step // 4, len(SOURCE))[found["label"]]
        want = plain[step]["image"]
        want = np.where(flips[:, None, None, None], want[:, :, ::-1], want)
        np.testing.assert_array_equal(found["image"], want)


@pytest.mark.parametrize(("reflect", "mode"), [(False, "constant"), (True, "reflect")])
def test_crops_are_windows_of_the_padded_image_each_equally_often(reflect, mode):
    images = np.broadcast_to(IMAGES[:1], (2500, 6, 6, 3))
    found = of(images, {"pad_px": 2}, reflect=reflect)
    padded = np.pad(IMAGES[0], ((2, 2), (2, 2), (0, 0)), mode=mode)
    counts = [
        np.isclose(found, normalised([padded[y : y + 6, x : x + 6]])[0], atol=1e-5)
        .all((1, 2, 3))
        .sum()
        for y in range(5)
        for x in range(5)
    ]
    assert sum(counts) == 2500
    # Binomial(2500, 1/25): five standard deviations are 49.
    np.testing.assert_allclose(counts, 100, atol=49)


@pytest.mark.parametrize(
    ("augment", "settings", "message"),
    [
        ({"rotate_degrees": 15.0}, {}, r"not changed by augment.rotate_degrees=15; turn"),
        ({"crop_area_min": 0.08, "scale_fraction": 0.1}, {}, r"crop_area_min=0.08, augment.scale"),
        ({}, {"preprocess": PREPROCESS._replace(change=lambda x, _: x)}, r"the section policy"),
        ({"pad_px": 6}, {"reflect": True}, r"fewer pixels than the image has \(6\)"),
        ({}, {"steps_per_dispatch": 0}, r"must be at least 1, got 0 and 1024"),
        ({}, {"max_mb": 0}, r"must be at least 1, got 1 and 0"),
    ],
)
def test_what_it_does_not_know_is_one_clear_line(augment, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        made(augment, **settings)
    assert "\n" not in str(caught.value)


def test_it_may_be_off_whatever_is_to_be_done():
    assert made({"rotate_degrees": 15.0}, enabled=False) is None


def test_a_set_that_does_not_fit_is_refused_before_reading():
    class Huge:
        info = SOURCE.info

        def __len__(self):
            return 20_000

        def __getitem__(self, index, /):
            raise AssertionError("read")

    with pytest.raises(UserError, match=r"pictures takes 2 MB on each device, more than .*=1; "):
        resident.load(Huge(), PREPROCESS, 10**6, 1)


def training(directory, num_steps=8, **sections):
    """A short training from the devices; its experiment, for the checkpoint."""
    sections = {
        "augment": {**OFF, "flip_rate": 0.5, "pad_px": 2},
        "loader": {"batch_size": 32, "num_threads": 2},
        "model": {"name": "mlp_test"},
        "sampling": {"fraction": 0.04},
        "evaluation": {"batch_size": 1000},
        "train": {"num_steps": num_steps, "log_every_steps": 3, "checkpoint_every_steps": 5},
        "schedule": {"name": "constant", "warmup_epochs": 0.0},
        **sections,
    }
    return run(directory, **sections)[1]


def test_steps_in_a_call_and_a_break_in_an_epoch_change_no_bit(tmp_path):
    # 160 examples are 5 steps an epoch.
    for name, steps_per_dispatch in (("two", 2), ("four", 4)):
        settings = {**ON, "steps_per_dispatch": steps_per_dispatch}
        experiment = training(tmp_path / name, resident=settings)
    logged = lines(tmp_path / "two")
    assert [line["step"] for line in logged if "train/loss" in line] == [3, 6, 8]
    assert logged == lines(tmp_path / "four")
    whole = saved(tmp_path / "two", experiment)
    assert_same_checkpoint(whole, saved(tmp_path / "four", experiment))
    training(tmp_path / "broken", num_steps=7, resident={**ON, "steps_per_dispatch": 2})
    training(tmp_path / "broken", resident={**ON, "steps_per_dispatch": 3})
    assert lines(tmp_path / "broken")[-1] == logged[-1]
    assert_same_checkpoint(whole, saved(tmp_path / "broken", experiment))
    training(tmp_path / "alone", resident=ON)
    assert lines(tmp_path / "alone") == logged
    assert_same_checkpoint(whole, saved(tmp_path / "alone", experiment))


FOUR = {**ON, "steps_per_dispatch": 4}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The directory of a training on one device."""
    directory = tmp_path_factory.mktemp("alone")
    training(directory, resident=FOUR)
    return directory


@pytest.mark.parametrize(("strategy", "num_devices"), [("mesh", 8), ("pmap", 8), ("pmap", 1)])
def test_devices_see_the_same_batches(alone, tmp_path, strategy, num_devices):
    training(tmp_path, resident=FOUR, parallel={"strategy": strategy, "num_devices": num_devices})
    losses = [
        [line["train/loss"] for line in lines(directory) if "train/loss" in line]
        for directory in (alone, tmp_path)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert np.ptp(losses[0]) > 1e-2, "the model must have moved for this to mean anything"
