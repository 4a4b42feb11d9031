import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from cnn import macs, models, ops

X = jax.ShapeDtypeStruct((2, 9, 8, 6), jnp.float32)


def kernel(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, 2, 6, 5), {}, 2 * 7 * 7 * 5 * 3 * 2 * 6),
        ((3, 3, 6, 4), {"padding": 1}, 2 * 9 * 8 * 4 * 9 * 6),
        ((3, 3, 6, 4), {"padding": 1, "stride": 2}, 2 * 5 * 4 * 4 * 9 * 6),
        ((3, 3, 6, 4), {"dilation": 2}, 2 * 5 * 4 * 4 * 9 * 6),
        ((3, 3, 2, 12), {"groups": 3}, 2 * 7 * 6 * 12 * 9 * 2),
        ((3, 3, 1, 6), {"groups": 6}, 2 * 7 * 6 * 6 * 9),
    ],
)
def test_convolutions(shape, options, expected):
    assert macs.count(functools.partial(ops.conv, **options), X, kernel(*shape)) == expected


def test_a_transposed_convolution_has_each_weight_once_for_each_pixel():
    layer = linen.ConvTranspose(5, (4, 4), strides=(2, 2), use_bias=False)
    variables = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x), X)
    assert macs.count(layer.apply, variables, X) == 2 * 9 * 8 * 6 * 4 * 4 * 5


def test_products():
    a, b = kernel(3, 4, 5), kernel(3, 5, 7)
    assert macs.count(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), a, b) == 3 * 4 * 5 * 7
    assert macs.count(jnp.dot, kernel(5), kernel(5)) == 5


def square(x):
    return x @ x


@pytest.mark.parametrize(
    ("function", "times"),
    [
        (square, 1),
        (jax.jit(square), 1),
        (jax.vmap(square, axis_size=3, in_axes=None, out_axes=None), 1),
        (jax.checkpoint(square), 1),
        (lambda x: lax.scan(lambda c, _: (square(c), None), x, None, length=7)[0], 7),
        (lambda x: lax.fori_loop(0, 5, lambda _, c: square(c), x), 5),
        (lambda x: lax.cond(x[0, 0] > 0, lambda x: square(square(x)), square, x), 2),
        (lambda x: lax.map(square, jnp.stack([x, x, x])), 3),
        (lambda x: jax.value_and_grad(lambda y: square(y).sum())(x), 3),
    ],
)
def test_inside_other_functions(function, times):
    assert macs.count(function, kernel(4, 4)) == times * 4**3


def test_inside_a_rule_for_derivatives():
    vjp = jax.custom_vjp(square)
    vjp.defvjp(lambda x: (square(x), x), lambda x, g: (g @ x.T,))
    assert macs.count(vjp, kernel(4, 4)) == 4**3
    assert macs.count(jax.value_and_grad(lambda x: vjp(x).sum()), kernel(4, 4)) == 2 * 4**3
    jvp = jax.custom_jvp(square)
    jvp.defjvp(lambda primals, tangents: (square(*primals), tangents[0]))
    assert macs.count(jvp, kernel(4, 4)) == 4**3


def test_over_all_devices_of_a_mesh():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    weight = np.ones((4, 4), np.float32)
    split = jax.shard_map(lambda x: x @ weight, mesh=mesh, in_specs=spec, out_specs=spec)
    assert macs.count(split, kernel(16, 4)) == 16 * 4 * 4


def test_a_loop_that_nobody_knows_the_turns_of():
    def until_small(x):
        return lax.while_loop(lambda x: x.sum() > 1, square, x)

    with pytest.raises(ValueError, match="while loop"):
        macs.count(until_small, kernel(4, 4))
    count = macs.count(lambda x: lax.while_loop(lambda x: x.sum() > 1, lambda x: x / 2, x), X)
    assert count == 0


def in_training(name, **fields):
    """Forward alone; and with the gradients of the parameters."""
    model = models.classifier(name, **fields)
    x = kernel(2, 32, 32, 3)
    variables = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), x)
    gradients = jax.grad(lambda variables, x: model.apply(variables, x).sum())
    return macs.count(model.apply, variables, x), macs.count(gradients, variables, x)


@pytest.mark.parametrize("name", ["resnet_test", "vit_test", "densenet_test"])
def test_training_takes_three_times_as_many_but_for_the_first_layer(name):
    forward, training = in_training(name)
    assert 2 * forward < training < 3 * forward


def test_what_is_computed_again_counts_again():
    forward, training = in_training("convnext_test")
    assert in_training("convnext_test", remat="dots") == (forward, training)
    again, most = in_training("convnext_test", remat="block")
    assert again == forward
    assert training + forward / 2 < most < training + forward
