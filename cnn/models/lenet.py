"""LeNet-5, as it is usually built today (`lenet5`) and as in its paper (`lenet5_1998`).

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section II.B, figure 2 and table I.

`lenet5` differs from the paper as the networks that are called LeNet-5 today do (61,706 parameters
at 10 classes, where the paper has 60,000): the second convolution sees all six maps, averages have
no trained gain and bias, the tangent is not scaled, and a linear layer with softmax replaces the
radial basis functions. The paper's 32x32 images are 28x28 ones with a border, which here is padding
of the first convolution. Each of these is a field, by which `lenet5_1998` is told apart.

`lenet5_1998` differs from the paper: the codes of the digits are our drawings, since the paper's
are in a figure; gains are of the mean of four pixels, not of their sum. With softmax cross-entropy
its loss is the paper's equation 9 without the class of rubbish.

Weights are normal with variance 1 / fan-in: LeCun et al. 1998, "Efficient BackProp", section 4.6;
the paper draws them uniformly within 2.4 / fan-in.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.nn.initializers import lecun_normal, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.errors import UserError
from cnn.nn.family import Features, Source

_PAPER = "LeCun et al., Gradient-based learning applied to document recognition"

Image = Float[Array, "batch height width channels"]

# Table I: the maps of S2 that each map of C3 sees.
_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
_DIGITS = """
.#####. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
##...## ..##... #.....# #.....# ....##. #...... .#..... ......# #.....# #.....#
#.....# .#.#... ......# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. ......# .#...#. ######. #...... .....#. #.....# #.....#
#.....# ...#... ....#.. ..####. #....#. ......# ######. ....#.. .#####. #.....#
#.....# ...#... ...#... ......# #....#. ......# #.....# ....#.. #.....# .######
#.....# ...#... ..#.... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... #...... ......# .....#. ......# #.....# ..#.... #.....# ......#
##...## ...#... #...... #.....# .....#. #.....# #.....# ..#.... #.....# .....#.
.#####. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .####..
"""

VARIANTS: dict[str, dict[str, Any]] = {
    "lenet5": {"widths": (6, 16)},
    "lenet5_1998": {
        "widths": (6, 16),
        "padding": 0,
        "connections": _TABLE,
        "trained_pool": True,
        "activation": "scaled_tanh",
        "output": "rbf",
    },
    "lenet_test": {"widths": (2, 4)},
    "lenet_1998_test": {
        "widths": (3, 4),
        "connections": ((0, 1), (1, 2), (0, 2), (0, 1, 2)),
        "trained_pool": True,
        "activation": "scaled_tanh",
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    size = 32 if name == "lenet5_1998" else 28
    return Source(_PAPER, 1998, image_size=size, channels=1, num_classes=10)


def codes() -> Float[np.ndarray, "digits units"]:
    """What the units of F6 should be for each digit: 1 in the ink of its 7x12 pixels, else -1."""
    rows = [line.split() for line in _DIGITS.split("\n") if line]
    digits = ["".join(column) for column in zip(*rows, strict=True)]
    return np.array([[1.0 if pixel == "#" else -1.0 for pixel in digit] for digit in digits])


class SparseConv(linen.Module):
    """A convolution whose every output sees only some of the inputs; with a bias, unpadded.

    Its kernel holds the connections that there are, [height, width, connections], in the order of
    the outputs.

    Attributes:
        connections: The inputs that each output sees.
        kernel_size: Height and width of the kernel.
        dtype: Of the computation.
    """

    connections: tuple[tuple[int, ...], ...]
    kernel_size: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Image) -> Float[Array, "batch new_height new_width features"]:
        """Convolves the images."""
        size, features = self.kernel_size, len(self.connections)
        outputs = np.repeat(np.arange(features), [len(seen) for seen in self.connections])
        inputs = np.concatenate([np.asarray(seen) for seen in self.connections])
        deviations = 1 / np.sqrt(size**2 * np.bincount(outputs)[outputs])

        def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
            drawn = jax.random.normal(key, shape, dtype)
            return drawn * jnp.asarray(deviations, dtype).reshape(1, 1, -1)

        weights = self.param("kernel", init, (size, size, len(inputs)), jnp.float32)
        bias = self.param("bias", zeros, (features,), jnp.float32)
        kernel = jnp.zeros((size, size, x.shape[-1], features), self.dtype)
        kernel = kernel.at[:, :, inputs, outputs].set(weights.astype(self.dtype))
        return ops.conv(x.astype(self.dtype), kernel) + bias.astype(self.dtype).reshape(1, 1, 1, -1)


class Gain(linen.Module):
    """Multiplies each channel and adds to it.

    Attributes:
        dtype: Of the computation.
    """

    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Image) -> Image:
        """The changed channels."""
        scale = self.param("scale", ones, x.shape[-1:], jnp.float32).astype(self.dtype)
        bias = self.param("bias", zeros, x.shape[-1:], jnp.float32).astype(self.dtype)
        return x * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)


class Backbone(linen.Module):
    """C1 to S4: images -> maps at strides 2 and 4.

    Attributes:
        widths: Maps of C1 and of C3.
        padding: Of C1: 2 for 28x28 images, 0 for 32x32 ones.
        connections: The maps of S2 that each map of C3 sees; empty is all.
        pool: As in `nn.Pool`: `avg` as in the paper, `max` or `stochastic`.
        trained_pool: Whether each map has a gain and a bias after the pooling, and the activation
            again after them.
        activation: As in `nn.activation`; for stochastic pooling one that is never negative.
        remat: Of each layer, as in `nn.remat`.
        dtype: Of the computation.
    """

    widths: tuple[int, int]
    padding: int = 2
    connections: tuple[tuple[int, ...], ...] = ()
    pool: str = "avg"
    trained_pool: bool = False
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
        activation, number = nn.activation(self.activation), 2 * index + 2
        x = activation(self._conv(index)(x))
        x = nn.Pool(self.pool, 2, name=f"pool{number}")(x, train=train)
        if self.trained_pool:
            x = activation(Gain(self.dtype, name=f"gain{number}")(x))
        return x

    def _conv(self, index: int) -> nn.Conv | SparseConv:
        if index and self.connections:
            if len(self.connections) != self.widths[1]:
                raise UserError(
                    f"connections are of {len(self.connections)} maps and widths says"
                    f" {self.widths[1]}; override both"
                )
            return SparseConv(self.connections, 5, self.dtype, name="conv3")
        return nn.Conv(
            self.widths[index],
            5,
            padding=0 if index else self.padding,
            use_bias=True,
            kernel_init=lecun_normal(),
            dtype=self.dtype,
            name="conv3" if index else "stem_conv",
        )


class Head(linen.Module):
    """C5, F6 and the output.

    Attributes:
        num_classes: How many logits.
        hidden_sizes: Units of C5 and F6.
        dropout_rate: After each hidden layer; the paper has none.
        activation: As in `nn.activation`.
        output: `linear`, or `rbf`: the negative squared distance of F6 to the code of each digit,
            for 10 classes and 84 units; its codes are not trained.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    hidden_sizes: tuple[int, ...] = (120, 84)
    dropout_rate: float = 0.0
    activation: str = "tanh"
    output: str = "linear"
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        activation = nn.activation(self.activation)
        x = features.maps[4].reshape(features.pooled.shape[0], -1)
        for index, size in enumerate(self.hidden_sizes):
            x = linen.Dense(size, dtype=self.dtype, name=f"hidden{index}")(x)
            x = linen.Dropout(self.dropout_rate)(activation(x), deterministic=not train)
        if nn.choose("output", self.output, {"linear": False, "rbf": True}):
            return -self._distances(x.astype(jnp.promote_types(self.dtype, jnp.float32)))
        x = linen.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.promote_types(self.dtype, jnp.float32))

    def _distances(self, x: Float[Array, "batch units"]) -> Float[Array, "batch classes"]:
        """Squared, to each code: equation 7 of the paper."""
        known = codes()
        if (self.num_classes, x.shape[1]) != known.shape:
            raise UserError(
                f"the radial basis functions are codes of 10 digits for 84 units, and there are"
                f" {self.num_classes} classes and {x.shape[1]} units; override output='linear'"
            )
        return jnp.sum(jnp.square(x[:, None] - jnp.asarray(known, x.dtype)[None]), axis=-1)
