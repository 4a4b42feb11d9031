"""LeNet-5.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section II.B and figure 2.

Differs from the paper as the networks that are called LeNet-5 today do (61,706 parameters at 10
classes): the second convolution sees all six maps, averages have no trained gain and bias, the
tangent is not scaled, and a linear layer with softmax replaces the radial basis functions. The
paper's 32x32 images are 28x28 ones with a border, which here is padding of the first convolution.

Weights are normal with variance 1 / fan-in: LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import lecun_normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "LeCun et al., Gradient-based learning applied to document recognition"
_POOLS = {"average": ops.avg_pool, "max": ops.max_pool}

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
        pool: `average` as in the paper, or `max`.
        activation: As in `nn.activation`.
        dtype: Of the computation.
    """

    widths: tuple[int, int]
    padding: int = 2
    pool: str = "average"
    activation: str = "tanh"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features; `train` changes nothing here."""
        del train
        pool = nn.choose("pool", self.pool, _POOLS)
        activation = nn.activation(self.activation)
        x, maps = images, {}
        layers = (("stem_conv", self.padding, 2), ("conv3", 0, 4))
        for (name, padding, stride), width in zip(layers, self.widths, strict=True):
            x = nn.Conv(
                width,
                5,
                padding=padding,
                use_bias=True,
                kernel_init=lecun_normal(),
                dtype=self.dtype,
                name=name,
            )(x)
            x = pool(activation(x), 2)
            maps[stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)))


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
