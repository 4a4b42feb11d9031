import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn
from cnn.errors import UserError
from cnn.models.unet import nearest_valid_size
from tests.heads.test_heads import draw, shapes

SMALL = {"widths": (2, 3, 4), "dropout_rate": 0.0}


def test_a_pixel_depends_on_the_image_alone_so_tiles_give_what_the_whole_gives():
    model = models.segmenter("unet", num_classes=2, **SMALL)
    variables = draw(shapes(model, (60, 60), 1)[1])
    image = jnp.asarray(np.random.default_rng(0).standard_normal((1, 76, 76, 1)), jnp.float32)
    apply = jax.jit(lambda x: model.apply(variables, x))
    whole = apply(image)
    assert whole.shape == (1, 36, 36, 2)
    tile = apply(image[:, 16:, :60])
    np.testing.assert_allclose(whole[:, 16:, :20], tile, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "levels", "expected"), [(572, 5, 572), (573, 5, 588), (9, 3, 44)])
def test_the_nearest_size_that_halves_evenly(size, levels, expected):
    assert nearest_valid_size(size, levels) == expected


def test_a_size_that_does_not_is_one_clear_line():
    with pytest.raises(UserError, match=r"images of 512x512 pixels .* take 524, or model.padding"):
        shapes(models.segmenter("unet", num_classes=2), (512, 512), 1)


def test_the_up_convolution_is_laxs_transposed_one_with_its_taps_reversed():
    layer = nn.UpConv(5)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 6)), jnp.float32)
    variables = layer.init(jax.random.key(0), x)
    expected = jax.lax.conv_transpose(
        x,
        variables["params"]["kernel"][::-1, ::-1],
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5)
