import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.errors import UserError
from cnn.evaluators.windows import Windows, by_windows
from cnn.tasks.segmentation import whole_logits
from tests.heads.test_heads import draw, shapes

RNG = np.random.default_rng(0)


def of_pixels(images):
    """Probabilities that depend on the pixel alone."""
    return np.concatenate([images, 1 - images], axis=-1).astype(np.float32)


@pytest.mark.parametrize("size", [(33, 50), (5, 7), (16, 16), (16, 40)])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_windows_cover_every_pixel(size, overlap):
    image = RNG.random((*size, 1))
    found = by_windows(of_pixels, image, Windows(16, overlap, batch_size=3))
    np.testing.assert_allclose(found, of_pixels(image), rtol=1e-5)


def test_the_middle_of_a_window_weighs_most():
    def by_place(images):
        rows = np.broadcast_to(np.arange(16.0)[:, None, None], (len(images), 16, 16, 1))
        return np.ascontiguousarray(rows[:, :, :16]).astype(np.float32)

    found = by_windows(by_place, np.zeros((24, 16, 1)), Windows(16, 0.5))[:, 0, 0]
    # Row 10 is place 10 of the first window and place 2 of the second.
    assert found[10] == pytest.approx((10 * 6 + 2 * 3) / 9)
    assert found[0] == 0
    assert found[23] == 15


def test_with_the_margin_left_out_tiles_give_what_the_whole_gives():
    model = models.segmenter("unet", num_classes=2, widths=(2, 3), dropout_rate=0.0)
    variables = draw(shapes(model, (20, 20), 1)[1])

    @jax.jit
    def probabilities(images):
        return jax.nn.softmax(whole_logits(lambda x: model.apply(variables, x), images))

    image = RNG.standard_normal((52, 36, 1)).astype(np.float32)
    whole = probabilities(jnp.asarray(image)[None])[0]
    tiles = by_windows(
        lambda x: np.asarray(probabilities(x)), image, Windows(36, 0.5, margin_px=8, batch_size=2)
    )
    np.testing.assert_allclose(tiles, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (Windows(16, 1.0), r"overlap of windows must be in \[0, 1\), got 1.0"),
        (Windows(16, 0.2, margin_px=4), "must overlap by 0.50 at least, got 0.2"),
    ],
)
def test_mistakes_are_one_clear_line(windows, message):
    with pytest.raises(UserError, match=message):
        by_windows(of_pixels, np.zeros((40, 40, 1)), windows)
