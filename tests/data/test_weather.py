"""Fog, frost and snow."""

import numpy as np
import pytest

from cnn.data.weather import fog, frost, plasma, snow

RNG = np.random.default_rng


def test_plasma_is_rougher_for_a_smaller_decay():
    rough, smooth = (plasma(64, decay, RNG(0)) for decay in (1.4, 2.5))
    for heights in (rough, smooth):
        assert heights.shape == (64, 64)
        assert (heights.min(), heights.max()) == (0.0, 1.0)
    steps = [np.abs(np.diff(heights, axis=0)).mean() for heights in (rough, smooth)]
    assert steps[0] > 2 * steps[1]
    assert plasma(28, 2.0, RNG(0)).shape == (28, 28)


def test_fog_stays_below_the_brightest_level():
    x = RNG(0).uniform(0, 0.8, (32, 32, 3))
    hazy = fog(x, 3, 32 / 224, RNG(1))
    assert hazy.max() <= x.max() + 1e-9
    # 2.5 of haze take the contrast of the picture by 0.8 / 3.3.
    share = x.max() / (x.max() + 2.5)
    map_ = (hazy - x * share) / (2.5 * share)
    np.testing.assert_allclose(map_, np.broadcast_to(map_[:, :, :1], map_.shape), atol=1e-9)
    assert map_.min() >= -1e-9
    assert map_.max() <= 1 + 1e-9


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_frost_is_the_papers_shares_of_picture_and_ice(severity):
    share, ice = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    dark, light = (
        frost(np.full((32, 32, 3), level), severity, 1 / 7, RNG(0)) for level in (0.0, 1.0)
    )
    np.testing.assert_allclose(light - dark, share)
    assert dark.min() >= 0
    assert dark.max() <= ice
    # Ice is blue rather than red.
    assert (dark[:, :, 2] >= dark[:, :, 0]).all()
    assert dark.std() > 0.02


def test_snow_whitens():
    x = np.full((32, 32, 3), 0.2)
    snowy = snow(x, 1, 1 / 7, RNG(0))
    # Between the flakes: 0.8 of it, and 0.2 of 1.5 times its gray and a half more.
    assert snowy.min() == pytest.approx(0.8 * 0.2 + 0.2 * 0.8)
    assert (snowy >= snowy.min()).all()
    assert snowy.max() > 0.6
