"""Maximum and average over a sliding window, of each channel by itself."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from cnn.ops import formulation, pooling_taps
from cnn.ops.window import Padding, Pair, Slide, check_fits, pair, sides

Image = Float[Array, "batch _ _ _"]


def max_pool(
    x: Float[Array, "batch height width channels"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch new_height new_width channels"]:
    """The largest value of each window; padding never wins.

    Of equal values the first, by rows, gets the gradient, as in torch.

    Args:
        x: The images.
        window: Height and width of the window, in taps.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Pixels of minus infinity added outside.
        dilation: Pixels between neighbouring taps of the window.
        ceil_mode: Whether a window counts that begins inside and ends outside, at the bottom or
            right; as in Caffe, whose networks expect it, and torch.

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    if ceil_mode:
        steps = pair(stride if stride is not None else window)
        padding = _ceil_sides(x.shape[1:3], window, steps, padding, dilation)
    slide = _slide(x, window, stride, padding, dilation)
    if formulation.is_stock():
        return _largest(x, spec=slide)
    return formulation.bind(_MAX, x, spec=slide)


def avg_pool(
    x: Float[Array, "batch height width channels"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
) -> Float[Array, "batch new_height new_width channels"]:
    """The mean of each window, summed in float32 or wider.

    Args:
        x: The images.
        window: Height and width of the window, in pixels.
        stride: Pixels between neighbouring windows; None is the window's size.
        padding: Zeros added outside.
        count_padding: Whether the zeros count in the mean (torch's `count_include_pad`).

    Raises:
        UserError: If the window does not fit into the padded image.
    """
    slide = _slide(x, window, stride, padding, dilation=1)

    def sums(values: Image) -> Image:
        if formulation.is_stock():
            return _total(values, spec=slide)
        return formulation.bind(_SUM, values, spec=slide)

    total = sums(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    if count_padding:
        return (total / (slide.window[0] * slide.window[1])).astype(x.dtype)
    count = sums(jnp.ones((1, *x.shape[1:3], 1), total.dtype))
    return (total / count).astype(x.dtype)


def _slide(x: Image, window: Pair, stride: Pair | None, padding: Padding, dilation: Pair) -> Slide:
    check_fits(x.shape[1:3], pair(window), padding=padding, dilation=dilation)
    return Slide(
        image=(x.shape[1], x.shape[2]),
        window=pair(window),
        stride=pair(stride if stride is not None else window),
        padding=sides(padding),
        dilation=pair(dilation),
    )


def _ceil_sides(
    image: tuple[int, ...], window: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The padding with what the last window of a row or column needs to end inside."""

    def grown(
        size: int, taps: int, step: int, around: tuple[int, int], spread: int
    ) -> tuple[int, int]:
        before, after = around
        rest = before + size + after - (taps - 1) * spread - 1
        windows = -(-rest // step)
        # One that begins in the padding after the image sees nothing of it.
        windows -= windows * step >= before + size
        return before, after + max(windows * step - rest, 0)

    ranges = zip(image, pair(window), pair(stride), sides(padding), pair(dilation), strict=True)
    vertical, horizontal = (grown(*axis) for axis in ranges)
    return vertical, horizontal


def _largest(x: Image, *, spec: Slide) -> Image:
    return _reduce(x, spec, lax.max, -np.inf)


def _total(x: Image, *, spec: Slide) -> Image:
    return _reduce(x, spec, lax.add, 0.0)


def _reduce(x: Image, slide: Slide, reduce: Callable[..., Array], start: float) -> Image:
    return lax.reduce_window(
        x,
        np.array(start, x.dtype),
        reduce,
        (1, *slide.window, 1),
        (1, *slide.stride, 1),
        ((0, 0), *slide.padding, (0, 0)),
        window_dilation=(1, *slide.dilation, 1),
    )


def _tangent_of_largest(x: Image, tangent: Image, *, spec: Slide) -> Image:
    return jax.jvp(functools.partial(_largest, spec=spec), (x,), (tangent,))[1]


def _gradient_of_largest(x: Image, g: Image, *, spec: Slide) -> Image:
    return jax.vjp(functools.partial(_largest, spec=spec), x)[1](g)[0]


def _gradient_of_total(g: Image, *, spec: Slide) -> Image:
    """Each pixel sums the windows that saw it: those of the output with zeros between."""
    axes = zip(spec.image, spec.padding, spec.reach, spec.size, spec.stride, strict=True)
    margins = [
        (reach - before, length + before - (outputs - 1) * step - 1, step - 1)
        for length, (before, _), reach, outputs, step in axes
    ]
    spaced = lax.pad(g, np.array(0, g.dtype), ((0, 0, 0), *margins, (0, 0, 0)))
    every = spec._replace(stride=(1, 1), padding=((0, 0), (0, 0)))
    return _total(spaced, spec=every)


_MAX = formulation.formulated("max_pool", stock=_largest, cpu=pooling_taps.largest)
_PICK = formulation.formulated(
    "max_pool_tangent", stock=_tangent_of_largest, cpu=pooling_taps.pick, by_example=False
)
_GIVE = formulation.formulated(
    "max_pool_gradient", stock=_gradient_of_largest, cpu=pooling_taps.give, by_example=False
)
_SUM = formulation.formulated("sum_pool", stock=_total, cpu=pooling_taps.total)
_SPREAD = formulation.formulated(
    "sum_pool_gradient", stock=_gradient_of_total, cpu=pooling_taps.spread_total
)

_pick, _give, _sum, _spread = (
    functools.partial(formulation.bind, primitive) for primitive in (_PICK, _GIVE, _SUM, _SPREAD)
)
# Which pixel is the largest does not move with x, so neither tangent nor gradient depends on it.
ad.defjvp(_MAX, lambda tangent, x, spec: _pick(x, tangent, spec=spec))
ad.defjvp(_PICK, None, lambda change, x, tangent, spec: _pick(x, change, spec=spec))
ad.defjvp(_GIVE, None, lambda change, x, g, spec: _give(x, change, spec=spec))
ad.primitive_transposes[_PICK] = lambda g, x, tangent, spec: (None, _give(x, g, spec=spec))
ad.primitive_transposes[_GIVE] = lambda tangent, x, g, spec: (None, _pick(x, tangent, spec=spec))
ad.deflinear2(_SUM, lambda g, x, spec: (_spread(g, spec=spec),))
ad.deflinear2(_SPREAD, lambda x, g, spec: (_sum(x, spec=spec),))
