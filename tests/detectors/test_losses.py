import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import ops
from cnn.detectors import ssd
from cnn.detectors.losses import box_loss, mean_of, safe_targets

RNG = np.random.default_rng(0)
CHOSEN = np.array([True, False, True, True])


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_box_loss_against_slow_numpy(beta):
    deltas, targets = RNG.standard_normal((2, 4, 4)).astype(np.float32)
    targets[0, 0] = deltas[0, 0] + 0.05
    expected = 0.0
    for one, other in zip(deltas[CHOSEN].ravel(), targets[CHOSEN].ravel(), strict=True):
        apart = abs(float(one) - float(other))
        expected += apart - beta / 2 if apart >= beta else apart**2 / 2 / beta
    value = box_loss(*map(jnp.asarray, (deltas, targets, CHOSEN)), beta=beta)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_what_is_not_chosen_may_be_no_box():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 1, 1], [0, 0, 3, 3], [0, 0, 4, 1]], np.float32)
    anchors = np.where(CHOSEN[:, None], boxes + np.float32([0, 0, 1, 1]), 0).astype(np.float32)

    @jax.jit
    @jax.value_and_grad
    def loss(deltas):
        chosen = jnp.asarray(CHOSEN)
        wanted = safe_targets(jnp.asarray(boxes), jnp.asarray(anchors), chosen, ops.boxes.EVEN)
        return box_loss(deltas, wanted, chosen)

    value, gradient = loss(jnp.zeros((4, 4)))
    expected = ops.boxes.encode(jnp.asarray(boxes[CHOSEN]), jnp.asarray(anchors[CHOSEN]))
    np.testing.assert_allclose(value, np.abs(expected).sum(), rtol=1e-6)
    assert np.isfinite(gradient).all() and not np.any(gradient[1])


def test_mean_of():
    losses = jnp.asarray([1.0, jnp.nan, 2.0, 6.0])
    assert mean_of(losses, jnp.asarray(CHOSEN)) == 3
    assert mean_of(losses, jnp.zeros(4, bool)) == 0


def test_only_the_hardest_background_counts():
    """SSD: of 20 default boxes one is on the object, and the loss sees three of the others."""
    anchors = np.array([[0, 5 * i, 4, 5 * i + 4] for i in range(20)], np.float32)
    logits = RNG.standard_normal((20, 3)).astype(np.float32)
    parts = jax.jit(ssd._losses_of_image)(
        logits, np.zeros((20, 4), np.float32), anchors[4:5], np.array([1]), anchors
    )
    entropy = np.log(np.exp(logits).sum(-1)) - logits[:, 0]
    background = np.sort(np.delete(entropy, 4))[-3:].sum()
    expected = background + np.log(np.exp(logits[4]).sum()) - logits[4, 2]
    np.testing.assert_allclose(parts["class"], expected, rtol=1e-5)
    assert parts["box"] == 0
