import jax
import numpy as np
import pytest

from cnn import ops
from cnn.benchmark import operation
from cnn.benchmark.job import Products, parse
from cnn.benchmark.operation import JaxOperation, JaxProducts

SPECS = ["conv:2x9x9x4,f8,k3,s2,g2", "max_pool:2x9x9x4,k3,s2,p1", "avg_pool:2x8x8x4,k2"]


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_parts_are_the_operation_and_its_gradients(spec, stock):
    job = parse(spec)
    x, kernel = operation._arrays(job)
    function = operation._function(job)
    y, back = jax.vjp(function, x, kernel)
    dx, dw = back(y)
    expected = {"forward": y, "dx": dx, "dw": dw}
    for part in job.parts:
        side = JaxOperation(job._replace(part=part), stock=stock)
        assert side.prepare(None).compile_seconds > 0
        result = side._call()
        result = result[0] if isinstance(result, tuple) else result
        np.testing.assert_allclose(result, expected[part], rtol=1e-4, atol=1e-4)
        side.start()
        assert side.run(2) > 0
        assert side.peak_bytes() > 0


def test_stock_is_asked_for_while_tracing(monkeypatch):
    asked = []
    job = parse(SPECS[0])

    def function(x, w):
        asked.append(ops.formulation.is_stock())
        return x * w[0, 0, 0, 0]

    monkeypatch.setattr(operation, "_function", lambda job: function)
    for part in job.parts:
        JaxOperation(job._replace(part=part), stock=True).prepare(None)
    assert asked
    assert all(asked)
    asked.clear()
    JaxOperation(job, stock=False).prepare(None)
    assert asked == [False]


def test_products_count_their_operations(monkeypatch):
    monkeypatch.setitem(operation.PRODUCT_SIZE, "cpu", 100)
    side = JaxProducts(Products("bfloat16"))
    side.prepare(None)
    side.start()
    assert side.run(2) > 0
    assert side.gflop() == pytest.approx(2e-3)
