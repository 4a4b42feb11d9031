"""RoIAlign: what a box sees of a map, as a grid; He et al. 2017, "Mask R-CNN", section 3."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnn.ops.boxes import area

Map = Float[Array, "batch height width channels"]
Boxes = Float[Array, "batch boxes 4"]
Cells = Float[Array, "batch boxes size size channels"]


class _Taps(NamedTuple):
    """What the bins of each box see along an axis: pixels, and how much each counts."""

    places: Int[Array, "batch boxes size taps"]
    weights: Float[Array, "batch boxes size taps"]


class _Axis(NamedTuple):
    """An axis of each box: where it begins and ends on its map, in pixels, and the map's length."""

    start: Float[Array, "batch boxes"]
    end: Float[Array, "batch boxes"]
    length: Int[Array, "batch boxes"]


def roi_align(
    maps: Map,
    boxes: Boxes,
    *,
    size: int,
    scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Float[Array, "batch boxes {size} {size} channels"]:
    """The means of bilinear samples in `size` x `size` bins of each box.

    A sample more than a pixel outside the map is 0. With `sampling_ratio=0` boxes must lie inside
    it, and each is a product with the whole map: meant for few boxes or few channels.

    Args:
        maps: Of each image.
        boxes: Of each image.
        size: Bins along each axis of a box.
        scale: Pixels of the map in a unit of the boxes.
        sampling_ratio: Samples along each axis of a bin; 0 is one a pixel of the bin, rounded up.
        aligned: Whether the middle of the first pixel is at 0.5, as it should be. If not, it is at
            0 and no box is smaller than a pixel, as in the R-CNNs whose weights are published.
    """
    levels = jnp.zeros(boxes.shape[:2], jnp.int32)
    axes = _axes([maps], boxes, levels, (scale,), aligned)
    if sampling_ratio:
        taps = [_taps(axis, size, sampling_ratio, aligned) for axis in axes]
        return _gathered([maps], levels, *taps)
    rows, columns = (
        _matrix(_adaptive_taps(axis, size, length, aligned), length)
        for axis, length in zip(axes, maps.shape[1:3], strict=True)
    )
    tall = jnp.einsum("bnph,bhwc->bnpwc", rows, maps, precision="highest")
    return jnp.einsum("bnqw,bnpwc->bnpqc", columns, tall, precision="highest")


def pyramid_roi_align(
    maps: Sequence[Float[Array, "batch _ _ channels"]],
    boxes: Boxes,
    *,
    strides: Sequence[int],
    size: int,
    sampling_ratio: int = 2,
    canonical: tuple[int, int] = (224, 16),
) -> Float[Array, "batch boxes {size} {size} channels"]:
    """RoIAlign (not aligned) of each box on the map that suits its size.

    Args:
        maps: The finest first, each of half the size of the one before.
        boxes: In pixels of the image.
        strides: Of the maps, in pixels of the image.
        size: As in `roi_align`.
        sampling_ratio: As in `roi_align`, at least 1.
        canonical: A box with as many pixels as a square of the first is pooled from the map of the
            second as its stride; Lin et al. 2017, "Feature pyramid networks", equation 1.
    """
    level = pyramid_levels(boxes, strides=strides, canonical=canonical)
    axes = _axes(maps, boxes, level, [1 / stride for stride in strides], False)
    return _gathered(maps, level, *(_taps(axis, size, sampling_ratio, False) for axis in axes))


def pyramid_levels(
    boxes: Boxes, *, strides: Sequence[int], canonical: tuple[int, int] = (224, 16)
) -> Int[Array, "batch boxes"]:
    """From which map each box is pooled; see `pyramid_roi_align`."""
    side = jnp.sqrt(area(boxes))
    above = jnp.log2(jnp.maximum(side, 1e-6) / canonical[0]) + np.log2(canonical[1] / strides[0])
    # A square of exactly the canonical size must not fall below it by rounding.
    return jnp.clip(jnp.floor(above + 1e-6), 0, len(strides) - 1).astype(jnp.int32)


def _axes(
    maps: Sequence[Float[Array, "batch _ _ channels"]],
    boxes: Boxes,
    levels: Int[Array, "batch boxes"],
    scales: Sequence[float],
    aligned: bool,
) -> tuple[_Axis, _Axis]:
    """The boxes on their maps, by rows and by columns."""
    scaled = boxes * jnp.asarray(scales, boxes.dtype)[levels][..., None] - 0.5 * aligned
    lengths = jnp.asarray([x.shape[1:3] for x in maps], jnp.int32)[levels]
    rows, columns = (
        _Axis(scaled[..., axis], scaled[..., 2 + axis], lengths[..., axis]) for axis in (0, 1)
    )
    return rows, columns


def _extent(axis: _Axis, aligned: bool) -> Float[Array, "batch boxes"]:
    extent = axis.end - axis.start
    return extent if aligned else jnp.maximum(extent, 1)


def _taps(axis: _Axis, size: int, samples: int, aligned: bool) -> _Taps:
    """Two pixels for each of `samples` evenly spaced points in each of `size` bins."""
    steps = (np.arange(size * samples) + 0.5) / (size * samples)
    extent = _extent(axis, aligned)
    points = (
        axis.start[..., None] + extent[..., None] * jnp.asarray(steps, extent.dtype)[None, None]
    )
    shares = jnp.full_like(points, 1 / samples)
    return _bilinear(points, shares, axis.length, size)


def _adaptive_taps(axis: _Axis, size: int, most: int, aligned: bool) -> _Taps:
    """As `_taps`, with as many samples as a bin has pixels; `most` is the largest box."""
    bins = (_extent(axis, aligned) / size)[..., None, None]
    count = jnp.maximum(jnp.ceil(bins), 1)
    sample = jnp.arange(-(-most // size), dtype=bins.dtype).reshape(1, 1, 1, -1)
    place = jnp.arange(size, dtype=bins.dtype).reshape(1, 1, -1, 1)
    points = axis.start[..., None, None] + bins * (place + (sample + 0.5) / count)
    shares = jnp.broadcast_to(jnp.where(sample < count, 1 / count, 0), points.shape)
    flat = (*points.shape[:2], -1)
    return _bilinear(points.reshape(flat), shares.reshape(flat), axis.length, size)


def _bilinear(
    points: Float[Array, "batch boxes samples"],
    shares: Float[Array, "batch boxes samples"],
    length: Int[Array, "batch boxes"],
    size: int,
) -> _Taps:
    """The two pixels around each point, by their distance; beyond the last pixel is the last."""
    inside = (points >= -1) & (points <= length[..., None])
    last = length[..., None] - 1
    points = jnp.clip(points, 0, last)
    low = jnp.floor(points).astype(jnp.int32)
    high = jnp.minimum(low + 1, last)
    share = points - low
    weights = jnp.stack([1 - share, share], axis=-1) * jnp.where(inside, shares, 0)[..., None]
    shape = (*points.shape[:2], size, -1)
    return _Taps(jnp.stack([low, high], axis=-1).reshape(shape), weights.reshape(shape))


def _gathered(
    maps: Sequence[Float[Array, "batch _ _ channels"]],
    levels: Int[Array, "batch boxes"],
    rows: _Taps,
    columns: _Taps,
) -> Cells:
    """The weighted sums of the pixels that each bin sees, from all maps as one list of pixels."""
    batch, _, _, channels = maps[0].shape
    pixels = jnp.concatenate([x.reshape(batch, -1, channels) for x in maps], axis=1)
    counts = [x.shape[1] * x.shape[2] for x in maps]
    begins = jnp.asarray(np.cumsum([0, *counts[:-1]]), jnp.int32)[levels]
    widths = jnp.asarray([x.shape[2] for x in maps], jnp.int32)[levels]
    starts = rows.places * widths[..., None, None] + begins[..., None, None]
    take = jax.vmap(functools.partial(jnp.take, axis=0, mode="clip"))
    total = None
    # One sum of gathers is one loop over the result, without arrays of samples in between.
    for row in range(rows.places.shape[-1]):
        for column in range(columns.places.shape[-1]):
            place = starts[..., row][..., :, None] + columns.places[..., column][..., None, :]
            weight = (
                rows.weights[..., row][..., :, None] * columns.weights[..., column][..., None, :]
            )
            part = take(pixels, place) * weight[..., None].astype(pixels.dtype)
            total = part if total is None else total + part
    assert total is not None
    return total


def _matrix(taps: _Taps, length: int) -> Float[Array, "batch boxes size length"]:
    """What each pixel of an axis contributes to each bin."""

    def one(places: Int[Array, " taps"], weights: Float[Array, " taps"]) -> Float[Array, " length"]:
        return jnp.zeros(length, weights.dtype).at[places].add(weights)

    return jax.vmap(jax.vmap(jax.vmap(one)))(taps.places, taps.weights)
