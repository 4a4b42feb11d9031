"""The library's convolutions: where programs are not kept, the other tests never come here."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jaxlib import version

from cnn import ops
from cnn.ops import onednn
from tests.ops.test_against_stock import CONVOLUTIONS, check, draw, test_convolutions

CALL = "__onednn$"


def test_the_installed_release_is_a_known_one(keeps_nothing):
    """A new jaxlib is slower on a CPU until its custom call was tried: add it to `_KNOWN`."""
    assert onednn.is_known(), version.__version__


def test_it_does_not_serve_a_process_that_keeps_programs():
    assert jax.config.values["jax_compilation_cache_dir"]
    assert not onednn.is_known()
    assert CALL not in lowered("float32")


def lowered(dtype, **options):
    x, kernel = draw(0, 8, 8, 8, 4, dtype=dtype), draw(1, 3, 3, 4, 4, dtype=dtype)
    return jax.jit(functools.partial(ops.conv, **options)).lower(x, kernel).as_text()


def test_it_serves_float32_only(keeps_nothing):
    assert CALL in lowered("float32")
    assert CALL not in lowered("bfloat16")


def test_it_serves_no_other_platform(keeps_nothing):
    x, kernel = draw(0, 2, 8, 8, 4), draw(1, 3, 3, 4, 4)
    for platform in ("tpu", "cuda"):
        traced = jax.jit(ops.conv).trace(x, kernel)
        assert CALL not in traced.lower(lowering_platforms=(platform,)).as_text()


def test_all(keeps_nothing):
    test_convolutions()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_each_kind(name, keeps_nothing):
    shape, options = CONVOLUTIONS[name]
    check(functools.partial(ops.conv, **options), draw(0, 3, 8, 7, 6), draw(1, *shape))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_mapped(axes, keeps_nothing):
    x = draw(0, *(3,) * (axes[0] == 0), 2, 8, 7, 6)
    kernel = draw(1, *(3,) * (axes[1] == 0), 3, 3, 6, 4)
    check(jax.vmap(functools.partial(ops.conv, padding=1), axes), x, kernel)


def test_a_program_for_many_devices_is_cut_and_does_without(keeps_nothing):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    conv = functools.partial(ops.conv, padding=1)
    x, kernel = draw(0, 8, 8, 8, 4), draw(1, 3, 3, 4, 4)
    expected = conv(x, kernel)
    cut = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    program = jax.jit(conv).lower(cut, jax.device_put(kernel, NamedSharding(mesh, PartitionSpec())))
    assert CALL not in program.as_text()
    # Inside shard_map each device has its own program.
    specs = (PartitionSpec("data"), PartitionSpec())
    mapped = jax.jit(
        jax.shard_map(conv, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("data"))
    )
    assert CALL in mapped.lower(x, kernel).as_text()
    np.testing.assert_allclose(mapped(x, kernel), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", ["", "a", "b"])
def test_products(keeps_nothing, transposed):
    a, b, bias = draw(0, 50, 3), draw(1, 3, 7), draw(2, 7)
    which = {f"transpose_{transposed}": True} if transposed else {}
    given = (a.T if transposed == "a" else a, b.T if transposed == "b" else b)
    product = jax.jit(functools.partial(onednn.product, **which))
    np.testing.assert_allclose(product(*given), a @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(product(*given, bias), a @ b + bias[None], rtol=1e-5, atol=1e-5)
