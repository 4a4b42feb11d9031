"""Against slow NumPy versions, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import data, losses

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((2, 4, 5, 3)).astype(np.float32)
MASK = RNG.integers(0, 3, (2, 4, 5)).astype(np.uint8)
MASK[0, 1] = losses.IGNORED
CLASS_WEIGHTS = np.array([0.5, 1.0, 3.0], np.float32)
PIXEL_WEIGHTS = RNG.uniform(1, 3, (2, 4, 5)).astype(np.float32)


def slow_cross_entropy(gamma=0.0, class_weights=(1, 1, 1), pixel_weights=None):
    found = []
    for image in range(2):
        total, weights = 0.0, 0.0
        for row in range(4):
            for column in range(5):
                label = MASK[image, row, column]
                if label == 255:
                    continue
                scores = np.exp(LOGITS[image, row, column].astype(np.float64))
                p = scores[label] / scores.sum()
                pixel = 1.0 if pixel_weights is None else pixel_weights[image, row, column]
                total += class_weights[label] * pixel * (1 - p) ** gamma * -np.log(p)
                weights += class_weights[label]
        found.append(total / weights)
    return found


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_cross_entropy_and_focal_loss(gamma):
    ours = losses.pixel_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(MASK), gamma=gamma)
    np.testing.assert_allclose(ours, slow_cross_entropy(gamma), rtol=1e-5)


def test_weights_of_classes_and_pixels():
    ours = losses.pixel_cross_entropy(
        jnp.asarray(LOGITS),
        jnp.asarray(MASK),
        class_weights=jnp.asarray(CLASS_WEIGHTS),
        pixel_weights=jnp.asarray(PIXEL_WEIGHTS),
    )
    expected = slow_cross_entropy(0.0, CLASS_WEIGHTS, PIXEL_WEIGHTS)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_dice():
    found = []
    for image in range(2):
        scores = np.exp(LOGITS[image].astype(np.float64))
        p = scores / scores.sum(axis=-1, keepdims=True)
        real = MASK[image] != 255
        values = []
        for label in np.unique(MASK[image][real]):
            t = (MASK[image] == label) & real
            both = p[..., label][t].sum()
            values.append(2 * both / (p[..., label][real].sum() + t.sum()))
        found.append(1 - np.mean(values))
    ours = losses.dice_loss(jnp.asarray(LOGITS), jnp.asarray(MASK))
    np.testing.assert_allclose(ours, found, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.pixel_cross_entropy, losses.dice_loss])
def test_an_image_without_a_known_pixel_is_zero_and_so_is_its_gradient(loss):
    mask = jnp.full((2, 4, 5), losses.IGNORED, jnp.uint8)
    value, grad = jax.value_and_grad(lambda x: jnp.sum(loss(x, mask)))(jnp.asarray(LOGITS))
    assert value == 0
    assert not grad.any()


def test_the_focal_loss_of_a_sure_pixel_has_a_finite_gradient():
    logits = jnp.asarray([100.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    mask = jnp.zeros((1, 1, 1), jnp.uint8)

    def loss(x):
        return jnp.sum(losses.pixel_cross_entropy(x, mask, gamma=0.5))

    assert jnp.isfinite(jax.grad(loss)(logits)).all()


def test_one_number_is_ignored_everywhere():
    from cnn.evaluators import segmentation
    from cnn.report import overlay

    assert losses.IGNORED == data.IGNORED == segmentation.IGNORED == overlay.IGNORED == 255
