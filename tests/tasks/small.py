"""What the tests of tasks share: batches, compiled functions of a task, comparisons."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn import core

KEY = jax.random.key(0)


def batch_of(count=8, shape=(4, 4, 1), num_classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.normal(size=(count, *shape)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, num_classes, count), jnp.int32),
        "weight": jnp.ones(count),
    }


def padded(batch, fill):
    """The batch with three padded examples among the others, whose pixels are `fill`."""
    where = np.asarray([0, 3, 8])
    image = np.insert(np.asarray(batch["image"]), where, fill, axis=0)
    label = np.insert(np.asarray(batch["label"]), where, 4)
    weight = np.insert(np.asarray(batch["weight"]), where, 0.0)
    return {"image": jnp.asarray(image), "label": jnp.asarray(label), "weight": jnp.asarray(weight)}


def recorder():
    """An optimizer that changes nothing and whose state is the last gradient."""
    return optax.chain(remember_gradient(), optax.set_to_zero())


def remember_gradient():
    """Passes gradients on and keeps the last as its state."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda grads, state, params=None: (grads, grads),
    )


# Compiled: operation by operation each of these takes seconds.


def init(task, batch):
    return jax.jit(task.init)(KEY, batch)


def step(task, state, batch, key=KEY):
    return jax.jit(task.step)(state, batch, key)


def evaluate(task, state, batch):
    return jax.jit(task.evaluate)(state, batch)


def predict(task, state, batch):
    return jax.jit(task.predict)(state, batch)


def numpy_log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def norm(tree):
    return float(
        np.sqrt(sum(np.sum(np.asarray(x, np.float64) ** 2) for x in jax.tree.leaves(tree)))
    )


def values(metrics):
    return {name: float(value) for name, value in core.compute(metrics).items()}


def assert_same(left, right, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), left, right)
