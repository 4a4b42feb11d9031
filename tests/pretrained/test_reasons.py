"""Each fault that an implementation can have is made on purpose, and has to be named."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.pretrained import compare, reasons


class Net(linen.Module):
    """What most networks are made of; the fields are what can be wrong in it."""

    padding: Any = None
    epsilon: float = 1e-5
    training: bool = False
    activation: Any = jax.nn.relu
    pool: Any = 1
    order: tuple[int, ...] = (0, 1, 2, 3)
    norm_epsilon: float = 1e-6
    gelu: Any = functools.partial(jax.nn.gelu, approximate=False)

    @linen.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "..."]:
        x = nn.Conv(4, 3, stride=2, padding=self.padding, name="conv0")(x)
        x = nn.BatchNorm(epsilon=self.epsilon, name="norm0")(x, train=self.training)
        x = self.activation(x)
        x = ops.max_pool(x, 3, stride=2, padding=self.pool)
        x = jax.nn.relu(nn.Conv(6, 3, name="conv1")(x))
        x = jnp.transpose(x, self.order).reshape(x.shape[0], -1)
        # Small, so that an epsilon shows.
        x = 0.01 * linen.Dense(8, name="hidden")(x)
        x = nn.LayerNorm(epsilon=self.norm_epsilon, name="norm1")(x)
        x = self.gelu(linen.Dense(5, name="expand")(x))
        return linen.Dense(5, name="logits")(x)


LAYERS = ("conv0", "norm0", "conv1", "hidden", "norm1", "expand", "logits")
FAULTS = [
    ({"padding": ((0, 1), (0, 1))}, "conv0", "padding: with 0 before and 1 after it agrees"),
    ({"padding": 0}, "conv0", "padding: with 0 before and 0 after it agrees"),
    ({"epsilon": 1e-3}, "norm0", "epsilon: with 0.001 instead of 1e-05 it agrees"),
    ({"training": True}, "norm0", "training mode: with the batch's own statistics"),
    ({"activation": jax.nn.silu}, "conv1", "unknown"),
    ({"pool": ((0, 1), (0, 1))}, "conv1", "padding: of the max pooling before it, with 0 before"),
    ({"order": (0, 3, 1, 2)}, "hidden", "flatten order: with the map flattened as channels"),
    ({"norm_epsilon": 1e-3}, "norm1", "epsilon: with 0.001 instead of 1e-06 it agrees"),
    ({"gelu": jax.nn.gelu}, "logits", "activation: with GELU by the tangent before it"),
    ({"gelu": jax.nn.silu}, "logits", "activation: with SiLU before it"),
]


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32))


@pytest.fixture(scope="module")
def variables(images):
    drawn = Net().init(jax.random.key(0), images)
    rng = np.random.default_rng(1)
    # Statistics and gains that are no zeros and ones, and units that reach where GELUs differ.
    return jax.tree.map(lambda x: x + np.abs(rng.standard_normal(x.shape, np.float32)) / 2, drawn)


def record(net, variables, images):
    if not net.training:
        return nn.record(net, variables, images)

    class Mutable(linen.Module):
        @linen.compact
        def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
            return net.copy(name="net", parent=self)(x)

    inner = {name: {"net": tree} for name, tree in variables.items()}
    outputs: dict[str, Any] = {}

    def keep(call, args, kwargs, context):
        output = call(*args, **kwargs)
        outputs["/".join(context.module.path[1:])] = nn.Call(nn.Conv, {}, args[0], output)
        return output

    with linen.intercept_methods(keep):
        Mutable().apply(inner, images, mutable=["batch_stats"])
    return outputs


@pytest.mark.parametrize(("fault", "layer", "reason"), FAULTS)
def test_the_fault_is_named(images, variables, fault, layer, reason):
    calls = nn.record(Net(), variables, images)
    other = record(Net(**fault), variables, images)
    ours, theirs = ({k: np.asarray(v.output) for k, v in some.items()} for some in (calls, other))
    errors = (compare.error_of(ours[name], theirs[name]) for name in LAYERS)
    assert next(n for n, error in zip(LAYERS, errors, strict=True) if error > 1e-5) == layer
    reference = np.asarray(other[layer].output)

    def agrees(output: np.ndarray) -> bool:
        return compare.error_of(output, reference) <= compare.TOLERANCE

    closest = compare.nearest(np.asarray(calls[layer].output), reference)
    found = reasons.find((layer,), calls, variables, agrees, closest)
    assert found.startswith(reason)


def test_where_only_the_border_differs_it_is_padding(images, variables):
    calls = nn.record(Net(), variables, images)
    reference = np.array(calls["conv0"].output)
    reference[:, 0] += 1

    def agrees(output: np.ndarray) -> bool:
        return compare.error_of(output, reference) <= compare.TOLERANCE

    found = reasons.find(("conv0",), calls, variables, agrees, reference)
    assert found == "padding, of it or of a pooling before it: only the border differs"
    found = reasons.find(("conv0",), calls, variables, lambda output: False, reference)
    assert found.startswith("unknown")
    found = reasons.find(("conv0",), calls, variables, lambda output: False, None)
    assert found.startswith("the shapes differ: (2, 16, 16, 4) here")
