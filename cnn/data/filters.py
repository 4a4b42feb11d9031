"""The config section `filters`: gray, blurred and solarised training images, each by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cnn.data import distort
from cnn.data.policy import sometimes
from cnn.data.resize import Pixels
from cnn.data.transforms import NO_CHANGES, Change, Preprocess
from cnn.errors import UserError

_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
"""Of the colours of ImageNet's pixels in [0, 1], a column each: fb.resnet.torch's numbers."""


def make_filters(
    preprocess: Preprocess,
    *,
    grayscale_rate: float = 0.0,
    blur_rate: float = 0.0,
    blur_sigma_px: Sequence[float] = (0.1, 2.0),
    solarize_rate: float = 0.0,
    solarize_level: int = 128,
    pca_noise: float = 0.0,
) -> Preprocess:
    """Single filters in this order, after the policy and its jitter, before anything is erased.

    That is the order of Grill et al. 2020, "Bootstrap your own latent", appendix B, where the rates
    of its first view are 0.2, 1 and 0, of its second 0.2, 0.1 and 0.2.

    Args:
        preprocess: With the policy in it.
        grayscale_rate: Probability that all channels become the luma, in [0, 1].
        blur_rate: Probability of a Gaussian blur, in [0, 1].
        blur_sigma_px: Its standard deviation is uniform between these two, in pixels, above 0.
        solarize_rate: Probability that bright levels are inverted, in [0, 1].
        solarize_level: From this level on, in [0, 256]; 256 inverts none.
        pca_noise: Along each principal component of ImageNet's colours all pixels move by a normal
            number of this deviation, times the component's own: 0.1 in AlexNet, VGG and ResNet
            (Krizhevsky et al. 2012, section 4.1); 0 is off.

    Raises:
        UserError: If a value is out of its range.
    """
    rates = {"grayscale": grayscale_rate, "blur": blur_rate, "solarize": solarize_rate}
    _check(rates, blur_sigma_px, solarize_level, pca_noise)

    def grayscale(image: Pixels, rng: np.random.Generator) -> Pixels:
        return distort.grayscale(image)

    def blur(image: Pixels, rng: np.random.Generator) -> Pixels:
        return distort.gaussian_blur(image, rng.uniform(blur_sigma_px[0], blur_sigma_px[1]))

    def solarize(image: Pixels, rng: np.random.Generator) -> Pixels:
        return distort.solarize(image, float(solarize_level))

    def lighten(image: Pixels, rng: np.random.Generator) -> Pixels:
        shift = _COMPONENTS @ (rng.normal(0.0, pca_noise, 3) * _VARIANCES)
        return distort.add_colour(image, tuple((255 * shift).tolist()))

    filters: dict[str, Change] = {"grayscale": grayscale, "blur": blur, "solarize": solarize}
    added = tuple(sometimes(filters[name], rate) for name, rate in rates.items() if rate)
    if pca_noise:
        added = (*added, lighten)
    if not added:
        return preprocess
    before = preprocess.change or NO_CHANGES
    return preprocess._replace(change=before._replace(colours=(*before.colours, *added)))


def _check(
    rates: Mapping[str, float],
    blur_sigma_px: Sequence[float],
    solarize_level: int,
    pca_noise: float,
) -> None:
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise UserError(f"filters.{name}_rate must be between 0 and 1, got {rate:g}")
    if len(blur_sigma_px) != 2 or not 0 < blur_sigma_px[0] <= blur_sigma_px[1]:
        raise UserError(
            "filters.blur_sigma_px takes the smallest and the largest deviation, above 0; got "
            f"{tuple(blur_sigma_px)}"
        )
    if not 0 <= solarize_level <= 256:
        raise UserError(f"filters.solarize_level must be between 0 and 256, got {solarize_level}")
    if not pca_noise >= 0:
        raise UserError(f"filters.pca_noise must be at least 0, got {pca_noise:g}")
