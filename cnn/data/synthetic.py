"""Made-up images of any size and number, for benchmarks and dry runs: no file is read."""

from __future__ import annotations

import numpy as np

from cnn.data.contract import Example, SourceInfo, Sources
from cnn.errors import UserError

SIDE_STEP = 7919
"""Pixels by which an example is moved against the one before; a prime, so that all differ."""


class SyntheticSource:
    """Example i is one picture of noise, moved on by i steps; its label is i modulo the classes.

    Each has the same pixels in another order, uniform in [0, 255]: mean 127.5, standard deviation
    73.9. Nothing can be learnt but by heart.
    """

    def __init__(
        self, count: int, shape: tuple[int, int, int], num_classes: int, info: SourceInfo
    ) -> None:
        noise = np.random.Philox(key=np.zeros(2, np.uint64)).random_raw(-(-np.prod(shape) // 8))
        pixels = noise.astype("<u8").view(np.uint8)[: np.prod(shape)]
        # Twice in a row, so that a moved picture is a view.
        self._pixels = np.concatenate([pixels, pixels])
        self._pixels.flags.writeable = False
        self._shape = shape
        self.labels = np.arange(count, dtype=np.int64) % num_classes
        self.info = info

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> Example:
        size = len(self._pixels) // 2
        start = index * SIDE_STEP % size
        image = self._pixels[start : start + size].reshape(self._shape)
        return {"image": image, "label": int(self.labels[index])}


def synthetic(
    *,
    num_train: int = 1_281_167,
    num_eval: int = 50_000,
    num_classes: int = 1000,
    height: int = 224,
    width: int = 224,
    channels: int = 3,
) -> Sources:
    """Data that cost nothing to read; by default as many as ImageNet has.

    Args:
        num_train: Training examples.
        num_eval: Evaluation examples.
        num_classes: Classes; example i is of class i modulo this.
        height: Of an image, in pixels.
        width: Of an image, in pixels.
        channels: Of an image.

    Raises:
        UserError: If a number is below 1.
    """
    for name, value in list(locals().items()):
        if value < 1:
            raise UserError(f"data.options.synthetic.{name} must be at least 1, got {value}")
    names, shape = tuple(map(str, range(num_classes))), (height, width, channels)

    def part(name: str, count: int) -> SyntheticSource:
        return SyntheticSource(count, shape, num_classes, SourceInfo(f"synthetic {name}", names))

    return Sources(part("train", num_train), part("eval", num_eval))
