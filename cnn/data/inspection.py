"""What is in a data set: counts, sizes, statistics, faults, duplicates, and how fast it is read."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cnn.data.contract import Encoded, Source
from cnn.data.resize import Pixels
from cnn.errors import UserError

_BATCH = 64
"""The most images whose way to the device is timed."""


class Part(NamedTuple):
    """What was found in a training or evaluation part.

    Attributes:
        name: Of the source.
        num_examples: All there are.
        num_read: Of these, how many were read; a sample where `limit` is smaller.
        per_class: Of those read, by class name; of boxes the objects.
        sizes: Of those read, by (height, width, channels).
        mean: Of each channel, of pixels scaled to [0, 1], over all that have the commonest number
            of channels.
        std: As `mean`.
        faults: (index, error) of those that cannot be read.
        hashes: Of the pixels, by index.
    """

    name: str
    num_examples: int
    num_read: int
    per_class: Counter[str]
    sizes: Counter[tuple[int, ...]]
    mean: Float[np.ndarray, " channels"]
    std: Float[np.ndarray, " channels"]
    faults: list[tuple[int, str]]
    hashes: dict[int, bytes]


class Speed(NamedTuple):
    """Seconds for each image on one thread, as medians over images.

    Attributes:
        read: Until its bytes, or its pixels where they are stored as such, are in memory.
        decode: From bytes to pixels; 0 where pixels are stored, and where the source does not say
            which part is which, so that `read` is both.
        augment: From pixels to what the model sees.
        transfer: Of a batch of such images to the first device, for each image.
    """

    read: float
    decode: float
    augment: float
    transfer: float


def inspect_part(source: Source, *, limit: int = 0) -> Part:
    """Reads a source, passing over nothing in silence.

    Args:
        source: The examples.
        limit: Reads so many, evenly spread; 0 reads all.
    """
    per_class: Counter[str] = Counter()
    sizes: Counter[tuple[int, ...]] = Counter()
    sums: dict[int, np.ndarray] = {}
    faults, hashes = [], {}
    indices = spread(len(source), limit)
    for index in indices:
        try:
            example = source[index]
        except UserError as error:
            faults.append((index, str(error)))
            continue
        image, label = example["image"], example["label"]
        if source.info.target == "class":
            per_class[source.info.class_names[int(label)]] += 1  # type: ignore[arg-type]
        elif source.info.target == "multi":
            per_class.update(source.info.class_names[i] for i in np.flatnonzero(label))
        elif "box_labels" in example:
            real = example["box_labels"][example["box_labels"] >= 0]
            per_class.update(source.info.class_names[i] for i in real)
        sizes[image.shape] += 1
        levels = np.stack(
            [np.bincount(image[:, :, c].ravel(), minlength=256) for c in range(image.shape[-1])]
        )
        sums[image.shape[-1]] = sums.get(image.shape[-1], 0) + levels
        hashes[index] = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    mean, std = _statistics(sums, sizes)
    read = len(indices)
    return Part(source.info.name, len(source), read, per_class, sizes, mean, std, faults, hashes)


def spread(count: int, limit: int) -> list[int]:
    """`limit` indices evenly spread over `count`; all where `limit` is 0 or larger."""
    if not limit or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def duplicates(first: Part, second: Part) -> list[tuple[int, int]]:
    """Pairs of indices whose pixels are the same; both parts may be one and the same."""
    seen: dict[bytes, int] = {}
    pairs = []
    same = first is second
    for index, digest in first.hashes.items():
        if same and digest in seen:
            pairs.append((seen[digest], index))
        seen.setdefault(digest, index)
    if same:
        return pairs
    return [(seen[digest], i) for i, digest in second.hashes.items() if digest in seen]


def measure_speed(
    source: Source,
    augment: Callable[[Pixels, np.random.Generator], Any],
    put: Callable[[np.ndarray], Any],
    *,
    count: int = 200,
) -> Speed:
    """Medians over images, read, decoded and augmented one after another on this thread.

    Args:
        source: The examples.
        augment: As `cnn.data.train_batches` takes it.
        put: Brings a batch to a device; returns when it is there.
        count: Of so many images, evenly spread.

    Raises:
        UserError: If none can be read.
    """
    rng = np.random.default_rng(0)
    times, images = [], []
    for index in spread(len(source), count):
        marks = [time.perf_counter()]
        try:
            if isinstance(source, Encoded):
                stored = source.encoded(index)
                marks.append(time.perf_counter())
                image = source.decoded(index, stored)["image"]
                marks.append(time.perf_counter())
            else:
                image = source[index]["image"]
                marks += [time.perf_counter()] * 2
        except UserError:
            continue
        images.append(augment(image, rng))
        marks.append(time.perf_counter())
        times.append(np.diff(marks))
    if not times:
        raise UserError(f"none of the examples of {source.info.name} that were tried can be read")
    read, decode, augmented = np.median(times, axis=0).tolist()
    batch, puts = np.stack(images[:_BATCH]), []
    for _ in range(6):
        begun = time.perf_counter()
        put(batch)
        puts.append(time.perf_counter() - begun)
    # The first starts the device.
    return Speed(read, decode, augmented, float(np.median(puts[1:])) / len(batch))


def contact_sheet(
    images: Float[np.ndarray, "n height width channels"], *, columns: int = 8, gap_px: int = 2
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Images in rows, on white; each channel is spread so that its range over all fills [0, 255].

    The range is that of the whole sheet, so images can be compared with one another.
    """
    low, high = images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))
    levels = (images - low) / np.maximum(high - low, 1e-6) * 255
    # Gray is repeated; of more than three channels the first three are shown.
    pictures = np.repeat(levels, 3, -1) if images.shape[-1] == 1 else levels[..., :3]
    rows = -(-len(pictures) // columns)
    height, width = images.shape[1] + gap_px, images.shape[2] + gap_px
    sheet = np.full((rows * height - gap_px, columns * width - gap_px, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        shown = np.round(picture).astype(np.uint8)
        sheet[top : top + images.shape[1], left : left + images.shape[2], : shown.shape[-1]] = shown
    return sheet


def _statistics(
    sums: dict[int, np.ndarray], sizes: Counter[tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    if not sums:
        return np.zeros(0), np.zeros(0)
    by_channels: Counter[int] = Counter()
    for shape, count in sizes.items():
        by_channels[shape[-1]] += count
    levels = sums[by_channels.most_common(1)[0][0]].astype(np.float64)
    share, values = levels / levels.sum(1, keepdims=True), np.arange(256) / 255
    mean = share @ values
    return mean, np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
