"""Pixels between objects that nearly touch weigh more, so that a network learns to part them."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float32, UInt8

from cnn.data.contract import IGNORED


class Borders(NamedTuple):
    """The weights of a mask's pixels; the fields are arguments of `border_weights`."""

    weight: float
    sigma_px: float

    def __call__(
        self, mask: UInt8[np.ndarray, "height width"]
    ) -> Float32[np.ndarray, "height width"]:
        """1, and more between objects."""
        return border_weights(mask, weight=self.weight, sigma_px=self.sigma_px)


def border_weights(
    mask: UInt8[np.ndarray, "height width"], *, weight: float, sigma_px: float
) -> Float32[np.ndarray, "height width"]:
    """1, and on the background between two objects more, the narrower the gap.

    Ronneberger et al. 2015, "U-Net", equation 2, without the balance of classes, which is the
    loss's: 1 + weight * exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 being the distances in pixels to
    the nearest and the second nearest object. Class 0 is the background; an object is a connected
    part of another class.

    Args:
        mask: The classes.
        weight: What a gap of no width would add; 10 in the paper.
        sigma_px: Above 0; 5 in the paper.
    """
    # It takes as long to import as all of `cnn.data`, and few trainings weigh borders.
    from scipy import ndimage

    objects = []
    for label in np.unique(mask):
        if label not in (0, IGNORED):
            parts, _ = cast(tuple[np.ndarray, int], ndimage.label(mask == label))
            objects += [parts == part for part in range(1, int(parts.max()) + 1)]
    weights = np.ones(mask.shape, np.float32)
    if len(objects) < 2:
        return weights
    distances = np.stack([np.asarray(ndimage.distance_transform_edt(~one)) for one in objects])
    nearest = np.partition(distances, 1, axis=0)[:2].sum(axis=0)
    gaps = weight * np.exp(-(nearest**2) / (2 * sigma_px**2))
    return weights + np.where(mask == 0, gaps, 0.0).astype(np.float32)
