"""The weights and images that the golden numbers were computed with."""

import zlib

import numpy as np


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of that torch name: float64, the same on every machine."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        return 0.1 * rng.standard_normal(shape)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) >= 2:
        return rng.standard_normal(shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))
    return (
        0.1 * rng.standard_normal(shape) if name.endswith("bias") else rng.uniform(0.5, 1.5, shape)
    )


def draw_all(state: dict[str, list[int]], dtype: type = np.float32) -> dict[str, np.ndarray]:
    """A state dict; the counters of batches stay integers."""
    tensors = {name: draw(name, tuple(shape)) for name, shape in state.items()}
    return {
        name: tensor if tensor.dtype == np.int64 else tensor.astype(dtype)
        for name, tensor in tensors.items()
    }


def images(batch: int, size: int) -> np.ndarray:
    """NHWC input in [-1, 1), float64."""
    rng = np.random.Generator(np.random.PCG64(20261122))
    return rng.uniform(-1.0, 1.0, (batch, size, size, 3))


def segmentation_labels(batch: int, size: int, num_classes: int) -> np.ndarray:
    """A class for each pixel, in blocks; of some pixels 255, which the loss ignores."""
    example, row, column = np.indices((batch, size, size))
    labels = (example + row // 8 * 3 + column // 8) % num_classes
    return np.where((row + column) % 11 == 0, 255, labels).astype(np.uint8)
