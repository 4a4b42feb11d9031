"""The multilayer perceptron that the first convolutional networks were compared with.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section III.C: 28x28-300-100-10, with 3.05 % error on MNIST.

Weights are normal with variance 1 / fan-in: LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

import functools
from typing import Any

from flax import linen
from jax.nn.initializers import lecun_normal
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_PAPER = "LeCun et al., Gradient-based learning applied to document recognition"

VARIANTS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_sizes": (300, 100)},
    "mlp_test": {"hidden_sizes": (12, 8)},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    del name
    return Source(_PAPER, 1998, image_size=28, channels=1, num_classes=10)


class Backbone(linen.Module):
    """Dense hidden layers on all pixels: images -> the last one's units, and no maps.

    The first layer is a convolution as large as the image, and named and stored as one.

    Attributes:
        hidden_sizes: Units of the hidden layers, at least one.
        activation: As in `nn.activation`.
        dropout_rate: After each hidden layer but the last, whose units the head drops.
        remat: Of each hidden layer, as in `nn.remat`.
        dtype: Of the computation.
    """

    hidden_sizes: tuple[int, ...]
    activation: str = "tanh"
    dropout_rate: float = 0.0
    remat: str = "none"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features."""
        if not self.hidden_sizes:
            raise UserError("hidden_sizes is empty: a multilayer perceptron needs at least one")
        self._check(images.shape[1:])
        x = images
        for index in range(len(self.hidden_sizes)):
            layer = functools.partial(Backbone._layer, index=index)
            x = nn.remat(self.remat, self, layer)(x, train=train)
        return Features({}, x)

    def _layer(
        self, x: Float[Array, "batch ..."], *, train: bool, index: int
    ) -> Float[Array, "batch units"]:
        if index > 0:
            dropout = linen.Dropout(self.dropout_rate, name=f"dropout{index}")
            x = dropout(x, deterministic=not train)
        dense = linen.DenseGeneral(
            self.hidden_sizes[index],
            axis=tuple(range(1, x.ndim)),
            kernel_init=lecun_normal(),
            dtype=self.dtype,
            name=f"hidden{index}" if index > 0 else "stem_conv",
        )
        return nn.activation(self.activation)(dense(x))

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.has_variable("params", "stem_conv"):
            known = self.get_variable("params", "stem_conv")["kernel"].shape[:3]
            if known != shape:
                raise UserError(
                    "the first layer is for images of {}x{}x{} and these are {}x{}x{}; use images"
                    " of the size it was made for".format(*known, *shape)
                )
