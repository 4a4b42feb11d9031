"""The multilayer perceptron that the first convolutional networks were compared with.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section III.C: 28x28-300-100-10, with 3.05 % error on MNIST.

Weights are normal with variance 1 / fan-in: LeCun et al. 1998, "Efficient BackProp", section 4.6.
"""

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
        dtype: Of the computation.
    """

    hidden_sizes: tuple[int, ...]
    activation: str = "tanh"
    dropout_rate: float = 0.0
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Features:
        """The features."""
        if not self.hidden_sizes:
            raise UserError("hidden_sizes is empty: a multilayer perceptron needs at least one")
        self._check(images.shape[1:])
        activation = nn.activation(self.activation)
        x = activation(
            linen.DenseGeneral(
                self.hidden_sizes[0],
                axis=(1, 2, 3),
                kernel_init=lecun_normal(),
                dtype=self.dtype,
                name="stem_conv",
            )(images)
        )
        for index, size in enumerate(self.hidden_sizes[1:], start=1):
            x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
            x = activation(linen.Dense(size, dtype=self.dtype, name=f"hidden{index}")(x))
        return Features({}, x)

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.has_variable("params", "stem_conv"):
            known = self.get_variable("params", "stem_conv")["kernel"].shape[:3]
            if known != shape:
                raise UserError(
                    "the first layer is for images of {}x{}x{} and these are {}x{}x{}; use images"
                    " of the size it was made for".format(*known, *shape)
                )
