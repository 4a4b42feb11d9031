"""The gradient by a kernel that is summed over parts of the batch."""

import functools

import jax
import numpy as np
import pytest

from cnn import ops
from cnn.ops import by_part, plain
from cnn.ops.window import Slide
from tests.ops.test_against_stock import draw

SLIDE = Slide((9, 8), (3, 3), (2, 1), ((1, 1), (0, 1)), (1, 2))


@pytest.mark.parametrize(("count", "num_parts"), [(7, 3), (8, 4), (5, 64)])
def test_parts_add_up(count, num_parts, monkeypatch):
    x, g = draw(0, count, *SLIDE.image, 6), draw(1, count, *SLIDE.size, 4)
    whole = plain.kernel_gradient(x, g, SLIDE)
    monkeypatch.setattr(by_part, "num_parts", lambda x, g: min(num_parts, len(x)))
    cut = functools.partial(by_part.kernel_gradient, slide=SLIDE)
    assert str(jax.make_jaxpr(cut)(x, g)).count("conv_general_dilated") == min(num_parts, count)
    np.testing.assert_allclose(cut(x, g), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "features", "num_parts"),
    [
        ((8, 56, 56, 64), 64, 1),  # 12.8 MB
        ((8, 56, 56, 128), 256, 8),  # 38.5 MB, of which an example has more than a part
        ((64, 32, 32, 64), 64, 16),  # 33.6 MB
        ((1024, 15, 15, 64), 256, 32),  # 295 MB
        ((1, 512, 512, 64), 64, 1),
    ],
)
def test_how_many_parts(shape, features, num_parts):
    count = jax.eval_shape(
        lambda x, g: np.zeros(by_part.num_parts(x, g)),
        jax.ShapeDtypeStruct(shape, np.float32),
        jax.ShapeDtypeStruct((*shape[:3], features), np.float32),
    )
    assert count.shape == (num_parts,)


def test_a_training_step_is_cut(keeps_nothing, monkeypatch):
    monkeypatch.setattr(by_part, "num_parts", lambda x, g: 4)
    x, kernel = draw(0, 8, 8, 8, 4), draw(1, 3, 3, 4, 4)
    slope = jax.jit(jax.grad(lambda kernel: ops.conv(x, kernel, padding=1).sum()))
    assert slope.lower(kernel).as_text().count("stablehlo.convolution") == 4
