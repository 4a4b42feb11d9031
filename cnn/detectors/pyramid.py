"""Feature pyramid network, Lin et al. 2017, "Feature pyramid networks for object detection".

Section 3: each map of a backbone gets what coarser ones know. Beyond its coarsest map there is
either that map without every second pixel, or two convolutions more (Lin et al. 2017, "Focal loss",
section 4). As in torchvision, whose first of them reads P5 where the focal loss' authors read C5.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.nn.family import Features

_init = variance_scaling(1.0, "fan_in", "uniform")

Map = Float[Array, "batch _ _ _"]


class Pyramid(linen.Module):
    """The maps of a backbone -> maps of one width, the finest first.

    Attributes:
        levels: Strides of the backbone's maps, in pixels of the image.
        width: Channels of every map.
        extra: What comes after the coarsest: `pool` is one map, `convolutions` two.
        dtype: Of the computation.
    """

    levels: tuple[int, ...]
    width: int = 256
    extra: str = "pool"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features) -> list[Map]:
        """The maps.

        Raises:
            UserError: If the backbone has no map of such a stride.
        """
        nn.choose("extra", self.extra, {"pool": 0, "convolutions": 0})
        maps = [self._find(features, stride) for stride in self.levels]
        last, results = None, []
        for index in reversed(range(len(maps))):
            lateral = self._conv(f"lateral{index}", 1)(maps[index])
            last = lateral if last is None else lateral + _nearest(last, lateral.shape[1:3])
            results.insert(0, self._conv(f"output{index}", 3)(last))
        if self.extra == "pool":
            return [*results, results[-1][:, ::2, ::2]]
        first = self._conv("extra0", 3, 2)(results[-1])
        return [*results, first, self._conv("extra1", 3, 2)(linen.relu(first))]

    def _find(self, features: Features, stride: int) -> Map:
        if stride not in features.maps:
            known = ", ".join(map(str, sorted(features.maps)))
            raise UserError(f"levels has {stride}, but the backbone's maps have strides {known}")
        return features.maps[stride]

    def _conv(self, name: str, size: int, stride: int = 1) -> nn.Conv:
        return nn.Conv(
            self.width,
            size,
            stride=stride,
            use_bias=True,
            kernel_init=_init,
            dtype=self.dtype,
            name=name,
        )


def _nearest(x: Map, size: tuple[int, ...]) -> Map:
    """A map at a larger size, each pixel repeated."""
    for axis, target in zip((1, 2), size, strict=True):
        length = x.shape[axis]
        if target == 2 * length:
            x = jnp.repeat(x, 2, axis=axis)
        elif target != length:
            x = jnp.take(x, np.arange(target) * length // target, axis=axis)
    return x
