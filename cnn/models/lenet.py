"""LeNet-5.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section II.B and figure 2.

Differs from the paper as the networks that are called LeNet-5 today do (61,706 parameters at 10
classes): the second convolution sees all six maps, averages have no trained gain and bias, the
tangent is not scaled, and a linear layer with softmax replaces the radial basis functions. The
paper's 32x32 images are 28x28 ones with a border, which here is padding of the first convolution.

Weights are normal with variance 1 / fan-in: LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import lecun_normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.nn.family import Features, Source

_PAPER = "LeCun et al., Gradient-based learning applied to document recognition"

Image = Float[Array, "batch height width channels"]

VARIANTS: dict[str, dict[str, Any]] = {
    "lenet5": {"widths": (6, 16)},
    "lenet_test": {"widths": (2, 4)},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    del name
    return Source(_PAPER, 1998, image_size=28, channels=1, num_classes=10)


class Backbone(linen.Module):
    """C1 to S4: images -> maps at strides 2 and 4.

    Attributes:
        widths: Maps of C1 and of C3.
        padding: Of C1: 2 for 28x28 images, 0 for 32x32 ones.
        pool: As in `nn.Pool`: `avg` as in the paper, `max` or `stochastic`.
        activation: As in `nn.activation`; for stochastic pooling one that is never negative.
        remat: Of each layer, as in `nn.remat`.
        dtype: Of the computation.
    """

    widths: tuple[int, int]
    padding: int = 2
    pool: str = "avg"
    activation: str = "tanh"
    remat: str = "none"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features."""
        x, maps = images, {}
        for index in range(2):
            layer = functools.partial(Backbone._layer, index=index)
            x = maps[2 << index] = nn.remat(self.remat, self, layer)(x, train=train)
        return Features(maps, jnp.mean(x, axis=(1, 2)))

    def _layer(
        self, x: Image, *, train: bool, index: int
    ) -> Float[Array, "batch new_height new_width features"]:
        conv = nn.Conv(
            self.widths[index],
            5,
            padding=0 if index else self.padding,
            use_bias=True,
            kernel_init=lecun_normal(),
            dtype=self.dtype,
            name="conv3" if index else "stem_conv",
        )
        x = nn.activation(self.activation)(conv(x))
        return nn.Pool(self.pool, 2, name="pool4" if index else "pool2")(x, train=train)


class Head(linen.Module):
    """C5, F6 and the output.

    Attributes:
        num_classes: How many logits.
        hidden_sizes: Units of C5 and F6.
        dropout_rate: After each hidden layer; the paper has none.
        activation: As in `nn.activation`.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    hidden_sizes: tuple[int, ...] = (120, 84)
    dropout_rate: float = 0.0
    activation: str = "tanh"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        activation = nn.activation(self.activation)
        x = features.maps[4].reshape(features.pooled.shape[0], -1)
        for index, size in enumerate(self.hidden_sizes):
            x = linen.Dense(size, dtype=self.dtype, name=f"hidden{index}")(x)
            x = linen.Dropout(self.dropout_rate)(activation(x), deterministic=not train)
        x = linen.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))
