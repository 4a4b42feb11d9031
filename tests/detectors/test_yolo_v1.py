"""The first YOLO: its size, its loss against a slow version, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models
from cnn.detectors import contract, yolo_v1
from cnn.tasks import detection
from tests.tasks import small
from tests.tasks.scenes import CLASSES, batch_of


def test_parameters_and_the_grid_of_the_paper():
    """24 convolutions (60,155,968) and two dense layers on 7 x 7 x 1024, by hand."""
    model = models.detector("yolo_v1", num_classes=20)
    x = jax.ShapeDtypeStruct((1, 448, 448, 3), jnp.float32)
    raw, variables = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x), jax.random.key(0), x
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == 60_155_968 + (7 * 7 * 1024 + 1) * 4096 + (4096 + 1) * 7 * 7 * 30
    assert raw.middles.shape == (1, 49, 2, 2)
    assert raw.classes.shape == (1, 49, 20)
    assert raw.corners.shape == (49, 2)
    assert isinstance(model, contract.Detector)


def slow_losses(raw, boxes, labels):
    """Equation 3, cell by cell, on a grid of 2 x 2."""
    parts = dict.fromkeys(("box", "object", "nothing", "class"), 0.0)
    for cell in range(4):
        row, column = divmod(cell, 2)
        own = [
            (box, label)
            for box, label in zip(boxes, labels, strict=True)
            if label >= 0
            and int((box[0] + box[2]) / 2 * 2) == row
            and int((box[1] + box[3]) / 2 * 2) == column
        ]
        responsible = -1
        if own:
            (y0, x0, y1, x1), label = own[0]
            overlaps = []
            for (y, x), (h, w) in zip(raw.middles[cell], raw.roots[cell], strict=True):
                middle, size = ((row + y) / 2, (column + x) / 2), (h * h, w * w)
                low = np.maximum((y0, x0), np.subtract(middle, np.divide(size, 2)))
                high = np.minimum((y1, x1), np.add(middle, np.divide(size, 2)))
                common = np.prod(np.maximum(high - low, 0))
                overlaps.append(common / (np.prod(size) + (y1 - y0) * (x1 - x0) - common))
            responsible = int(np.argmax(overlaps))
            goal = ((y0 + y1) / 2 * 2 - row, (x0 + x1) / 2 * 2 - column)
            parts["box"] += 5 * np.sum((raw.middles[cell][responsible] - goal) ** 2)
            roots = np.sqrt((y1 - y0, x1 - x0))
            parts["box"] += 5 * np.sum((raw.roots[cell][responsible] - roots) ** 2)
            confidence = raw.confidences[cell][responsible]
            parts["object"] += (confidence - overlaps[responsible]) ** 2
            wanted = np.eye(raw.classes.shape[-1])[label]
            parts["class"] += np.sum((raw.classes[cell] - wanted) ** 2)
        for index in range(2):
            if index != responsible:
                parts["nothing"] += 0.5 * raw.confidences[cell][index] ** 2
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_losses(seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 0.6, (5, 2))
    boxes = np.concatenate([start, start + rng.uniform(0.1, 0.4, (5, 2))], axis=1)
    labels = np.array([2, 0, 1, -1, 2]) if seed else np.full(5, -1)
    shapes = ((4, 2, 2), (4, 2, 2), (4, 2), (4, 3))
    drawn = [rng.uniform(0.1, 0.9, shape) for shape in shapes]
    corners = np.array([(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5)])
    raw = yolo_v1.Raw(*drawn, corners, np.array((0.5, 0.5)))
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), raw)
    found = yolo_v1.image_losses(ours, jnp.asarray(boxes, jnp.float32), jnp.asarray(labels))
    expected = slow_losses(raw, boxes, labels)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6)


def test_eight_images_are_learnt():
    batch = batch_of()
    model = models.detector("yolo_v1_test", num_classes=CLASSES, dropout_rate=0.0, hidden_size=64)
    task = detection.make(model, optax.adam(3e-3))
    state, step = small.init(task, batch), jax.jit(task.step)
    for _ in range(100):
        state, metrics = step(state, batch, small.KEY)
    assert small.values(metrics)["class_loss"] < 0.1
    assert small.values(small.evaluate(task, state, batch))["ap50"] > 0.95
