"""Every formulation is the plain operation: values, gradients, and gradients of gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn import ops
from cnn.ops import plain

SWEEP = settings(max_examples=12, deadline=None, derandomize=True, database=None)
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))
SIDES = st.tuples(st.integers(0, 2), st.integers(0, 2))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 4))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def draw(seed, *shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def everything(f, *primals):
    """Values, gradients of a loss, tangents, and forward over reverse."""

    def loss(*primals):
        return jnp.sum(jnp.square(f(*primals)))

    every = tuple(range(len(primals)))
    tangents = jax.tree.map(jnp.cos, primals)
    gradients = jax.grad(loss, every)
    return {
        "value": f(*primals),
        "gradients": gradients(*primals),
        "tangent": jax.jvp(f, primals, tangents)[1],
        "hessian": jax.jvp(gradients, primals, tangents)[1],
    }


def check(f, *primals, tolerance=1e-5):
    ours = jax.jit(functools.partial(everything, f))(*primals)
    with ops.stock():
        stock = jax.jit(functools.partial(everything, lambda *primals: f(*primals)))(*primals)
    for name, expected in stock.items():
        leaves = zip(jax.tree.leaves(ours[name]), jax.tree.leaves(expected), strict=True)
        for got, leaf in leaves:
            assert got.dtype == leaf.dtype
            # Rounding is of the size of what is summed, not of each sum.
            got, leaf = (y.astype(jnp.promote_types(y.dtype, jnp.float32)) for y in (got, leaf))
            scale = float(jnp.max(jnp.abs(leaf))) + 1e-6
            np.testing.assert_allclose(got, leaf, rtol=0, atol=tolerance * scale, err_msg=name)


def fits(size, window, padding, dilation):
    spans = ((taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True))
    lengths = (length + sum(side) for length, side in zip(size, padding, strict=True))
    return all(length >= span for length, span in zip(lengths, spans, strict=True))


@SWEEP
@given(
    size=SIZES,
    window=WINDOWS,
    stride=STRIDES,
    padding=st.tuples(SIDES, SIDES),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    channels=st.sampled_from([(1, 1, 1), (4, 6, 1), (4, 4, 4), (3, 6, 3), (8, 4, 2), (24, 48, 6)]),
)
def test_convolutions(size, window, stride, padding, dilation, channels):
    assume(fits(size, window, padding, dilation))
    inputs, features, groups = channels
    x = draw(0, 2, *size, inputs)
    kernel = draw(1, *window, inputs // groups, features)
    conv = functools.partial(
        ops.conv, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    check(conv, x, kernel)


CONVOLUTIONS = {
    "depthwise": ((3, 3, 1, 6), {"stride": 2, "padding": 1, "groups": 6}),
    "depthwise, wide": ((3, 5, 1, 12), {"padding": 2, "groups": 6}),
    "grouped": ((3, 3, 3, 4), {"padding": 1, "groups": 2}),
    "pointwise": ((1, 1, 6, 4), {"stride": 2}),
    "patches": ((2, 2, 6, 4), {"stride": 2}),
    "gaps": ((2, 2, 6, 4), {"stride": 3}),
    "whole": ((8, 7, 6, 4), {}),
    "dense": ((3, 3, 6, 4), {"padding": 1}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_each_kind_of_convolution(name, dtype, tolerance):
    shape, options = CONVOLUTIONS[name]
    x, kernel = draw(0, 3, 8, 7, 6, dtype=dtype), draw(1, *shape, dtype=dtype)
    check(functools.partial(ops.conv, **options), x, kernel, tolerance=tolerance)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": (2, 3), "padding": ((0, 2), (1, 0))}, {"dilation": (2, 1)}],
    ids=["padding", "stride", "dilation"],
)
def test_dense_convolutions_in_double_precision(options):
    with jax.enable_x64(True):
        x, kernel = draw(0, 2, 8, 7, 6, dtype="float64"), draw(1, 3, 2, 6, 4, dtype="float64")
        check(functools.partial(ops.conv, **options), x, kernel, tolerance=1e-13)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_mapped_convolutions(name, axes):
    shape, options = CONVOLUTIONS[name]
    x = draw(0, *(3,) * (axes[0] == 0), 2, 8, 7, 6)
    kernel = draw(1, *(3,) * (axes[1] == 0), *shape)
    check(jax.vmap(functools.partial(ops.conv, **options), axes), x, kernel)


def test_a_wide_output_is_cut_into_blocks():
    conv = functools.partial(ops.conv, padding=1, groups=2)
    check(conv, draw(0, 1, 3, 58, 2), draw(1, 3, 3, 1, 2))


@SWEEP
@given(size=SIZES, window=WINDOWS, stride=STRIDES, padding=st.tuples(SIDES, SIDES))
def test_max_pool(size, window, stride, padding):
    assume(fits(size, window, padding, (1, 1)))
    # Torch's rule, and what pads nothing but minus infinity: at most half the window.
    assume(all(max(side) <= taps // 2 for side, taps in zip(padding, window, strict=True)))
    check(lambda x: ops.max_pool(x, window, stride=stride, padding=padding), draw(0, 2, *size, 3))


@SWEEP
@given(
    size=SIZES,
    window=WINDOWS,
    stride=STRIDES,
    padding=st.tuples(SIDES, SIDES),
    count_padding=st.booleans(),
)
def test_avg_pool(size, window, stride, padding, count_padding):
    assume(fits(size, window, padding, (1, 1)))
    assume(all(max(side) <= taps // 2 for side, taps in zip(padding, window, strict=True)))

    def pool(x):
        return ops.avg_pool(x, window, stride=stride, padding=padding, count_padding=count_padding)

    check(pool, draw(0, 2, *size, 3))


@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
def test_mapped_pools(pool):
    check(jax.vmap(lambda x: pool(x, 3, stride=2, padding=1)), draw(0, 2, 2, 7, 6, 3))


def test_the_first_of_equal_values_gets_the_gradient():
    """Torch's rule; by hand."""
    x = jnp.asarray([[1.0, 2, 2], [2, 0, 2], [3, 3, 1]]).reshape(1, 3, 3, 1)

    def loss(x):
        return (
            ops.max_pool(x, 2, stride=1) * jnp.asarray([[1.0, 2], [4, 8]])[None, :, :, None]
        ).sum()

    expected = [[0, 3, 0], [0, 0, 0], [4, 8, 0]]
    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x)[0, :, :, 0], expected)


def test_what_is_no_number_stays_visible():
    x = draw(0, 1, 6, 6, 1).at[0, 2, 2, 0].set(jnp.nan)
    with ops.stock():
        expected = ops.max_pool(x, 3)
    np.testing.assert_array_equal(jax.jit(lambda x: ops.max_pool(x, 3))(x), expected)
    assert np.isnan(expected).sum() == 1


def block(x, kernels):
    """One of every kind."""
    depthwise, pointwise, grouped = kernels
    x = ops.conv(x, depthwise, padding=1, groups=8)
    x = ops.max_pool(ops.conv(x, pointwise), 3, stride=2, padding=1)
    return ops.avg_pool(ops.conv(x, grouped, padding=1, groups=2), 2)


KERNELS = (draw(1, 3, 3, 1, 8), draw(2, 1, 1, 8, 8), draw(3, 3, 3, 4, 8))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_backends_get_plain_operations(platform):
    """Lowered for them here, the program with its gradients is that of plain `lax`."""

    def text(f):
        step = jax.jit(jax.value_and_grad(lambda x, kernels: f(x, kernels).sum(), (0, 1)))
        lowered = step.trace(draw(0, 2, 8, 8, 8), KERNELS).lower(lowering_platforms=(platform,))
        text = lowered.as_text()
        kinds = ("convolution", "dot_general", "reduce_window", "select_and_scatter", "while")
        return {kind: text.count(f"stablehlo.{kind}") for kind in kinds}

    ours = text(block)
    with ops.stock():
        stock = text(lambda x, kernels: block(x, kernels))
    assert ours["convolution"] == stock["convolution"] == 9
    assert ours["dot_general"] == ours["while"] == 0
    assert ours["select_and_scatter"] == stock["select_and_scatter"] == 1


@pytest.mark.parametrize("stride", [(2, 2), (1, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_other_backends_read_only_the_pixels_that_a_1x1_kernel_sees(stride, groups):
    """The plain formulation, run here, is the strided convolution and its two gradients."""
    x, kernel = draw(0, 2, 5, 6, 4), draw(1, 1, 1, 4 // groups, 6)
    no_padding = ((0, 0), (0, 0))
    slide = ops.window.Slide((5, 6), (1, 1), stride, no_padding, (1, 1), groups)
    expected, give_back = jax.vjp(lambda *both: plain.convolve(*both, slide), x, kernel)
    g = draw(2, *expected.shape)
    by_image, by_kernel = give_back(g)
    for formulation, args, value in (
        (plain.forward, (x, kernel), expected),
        (plain.image_gradient, (g, kernel), by_image),
        (plain.kernel_gradient, (x, g), by_kernel),
    ):
        np.testing.assert_allclose(formulation(*args, slide), value, rtol=1e-5, atol=1e-5)
        text = jax.jit(functools.partial(formulation, slide=slide)).lower(*args).as_text()
        assert "stablehlo.slice" in text or "stablehlo.pad" in text
        assert "stride = [1, 1]" in text
        assert "dilate = [1, 1]" in text


def test_a_cpu_gets_others():
    step = jax.jit(jax.grad(lambda kernels, x: block(x, kernels).sum()))
    text = step.lower(KERNELS, draw(0, 2, 8, 8, 8)).as_text()
    assert "dot_general" in text
    assert "select_and_scatter" not in text
    assert "case" not in text


def test_computed_again():
    check(jax.checkpoint(block), draw(0, 2, 8, 8, 8), KERNELS)


def test_turns_of_a_loop():
    def loop(x, kernel):
        def turn(x, _):
            return ops.conv(x, kernel, padding=1, groups=6), None

        return jax.lax.scan(turn, x, None, length=3)[0]

    check(loop, draw(0, 2, 5, 5, 6), draw(1, 3, 3, 1, 6) / 3)


def test_outside_of_jit():
    x, kernel = draw(0, 1, 5, 5, 6), draw(1, 3, 3, 1, 6)
    conv = functools.partial(ops.conv, groups=6)
    np.testing.assert_array_equal(conv(x, kernel), jax.jit(conv)(x, kernel))


def loss_and_gradients(x, kernels):
    return jax.value_and_grad(lambda x, k: jnp.sum(jnp.square(block(x, k))), (0, 1))(x, kernels)


def test_a_batch_over_eight_devices():
    x = draw(0, 16, 8, 8, 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    expected = jax.jit(loss_and_gradients)(x, KERNELS)
    ours = jax.jit(loss_and_gradients)(jax.device_put(x, split), KERNELS)
    for got, leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, leaf, rtol=1e-4, atol=1e-5 * float(jnp.abs(leaf).max()))
    assert ours[1][0].sharding.is_equivalent_to(split, 4)


def test_each_device_by_itself():
    """Gradients of what all devices share are summed over them."""
    x = draw(0, 16, 8, 8, 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")

    def loss(x, kernels):
        y = jnp.sum(jnp.square(block(x, kernels)))
        return jax.lax.psum(y, "data")

    whole = jax.sharding.PartitionSpec()
    each = jax.shard_map(loss, mesh=mesh, in_specs=(spec, whole), out_specs=whole)
    ours = jax.jit(jax.value_and_grad(each, (0, 1)))(x, KERNELS)
    expected = jax.jit(loss_and_gradients)(x, KERNELS)
    for got, leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, leaf, rtol=1e-4, atol=1e-5 * float(jnp.abs(leaf).max()))
