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

    def cast(tensor: np.ndarray) -> np.ndarray:
        return tensor if tensor.dtype == np.int64 else tensor.astype(dtype)

    # Each is cast at once: the 138 million numbers of a VGG are a gigabyte before.
    return {name: cast(draw(name, tuple(shape))) for name, shape in state.items()}


SHARPER = {"cls_score.weight": 3.0, "classification_head.module_list": 4.0}
"""By parts of names, what the last layers of detectors are multiplied by, so that some are sure."""


def draw_detector(state: dict[str, list[int]], dtype: type = np.float32) -> dict[str, np.ndarray]:
    """As `draw_all`, with clear scores."""
    tensors = draw_all(state, dtype)
    for name, tensor in tensors.items():
        factors = [factor for part, factor in SHARPER.items() if part in name]
        if tensor.ndim > 1 and factors:
            tensors[name] = factors[0] * tensor
    return tensors


def images(batch: int, size: int) -> np.ndarray:
    """NHWC input in [-1, 1), float64."""
    rng = np.random.Generator(np.random.PCG64(20261122))
    return rng.uniform(-1.0, 1.0, (batch, size, size, 3))


def segmentation_labels(batch: int, size: int, num_classes: int) -> np.ndarray:
    """A class for each pixel, in blocks; of some pixels 255, which the loss ignores."""
    example, row, column = np.indices((batch, size, size))
    labels = (example + row // 8 * 3 + column // 8) % num_classes
    return np.where((row + column) % 11 == 0, 255, labels).astype(np.uint8)


def detection_boxes() -> tuple[np.ndarray, np.ndarray]:
    """True boxes (y0, x0, y1, x1) of two images as shares, and classes; -1 is padding."""
    boxes = np.array(
        [
            [[0.1, 0.05, 0.6, 0.5], [0.3, 0.45, 0.95, 0.9], [0.55, 0.1, 0.8, 0.3]],
            [[0.2, 0.25, 0.7, 0.95], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        ]
    )
    return boxes, np.array([[0, 2, 1], [3, -1, -1]], np.int32)


def pooled_input() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes inside 96x128 pixels, their scores and classes, and a map of every fourth pixel."""
    rng = np.random.Generator(np.random.PCG64(7))
    corners = rng.uniform(0, [70, 90], (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, 36, (60, 2))], axis=1)
    scores = rng.permutation(60) / 60
    return boxes, scores, rng.integers(0, 3, 60), rng.standard_normal((1, 24, 32, 2))
