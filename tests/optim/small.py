"""Small parameters, and the parts of `cnn.optim` with everything off that a test does not name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn import optim

CONSTANT = optax.constant_schedule(1.0)


def decay(**values):
    penalties = {"weight_decay": 0.0, "l2": 0.0, "l1": 0.0, "apply_to": "kernels"}
    return optim.make_decay(**{**penalties, **values})


def optimizer(name, learning_rate=0.1, clip_norm=0.0, schedule=CONSTANT, own=None, **penalties):
    return optim.make_optimizer(
        schedule,
        decay(**penalties),
        name=name,
        learning_rate=learning_rate,
        clip_norm=clip_norm,
        options={name: own or {}},
    )


def tree(seed=0):
    """Parameters with a hidden and a last kernel, a bias, a scale and an embedding."""
    rng = np.random.default_rng(seed)
    shapes = {
        "body": {"kernel": (6, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
        "embed": {"embedding": (3, 4)},
        "head": {"logits": {"kernel": (4, 2), "bias": (2,)}},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def updates_of(tx, gradients, params, steps=1):
    """The parameters after so many steps of the same gradient."""

    @jax.jit
    def run(params):
        state = tx.init(params)
        for _ in range(steps):
            updates, state = tx.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return run(params)


def assert_same(left, right, **tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-7, **tolerance}),
        left,
        right,
    )


def schedule(name, num_steps=100, **values):
    """Of 10 steps an epoch."""
    defaults = {"warmup_epochs": 0.0, "end_factor": 0.0, "decay_epochs": (), "decay_rate": 0.1}
    return optim.make_schedule(num_steps, 10, name=name, **{**defaults, **values})
