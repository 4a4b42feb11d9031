"""StyleGAN2: a mapping to styles, and convolutions that styles modulate.

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN": configuration F, the
skip generator and the residual discriminator (section 4.1, figure 7). Weights are drawn from a
standard normal distribution and scaled where they are used (Karras et al. 2018, "Progressive
growing of GANs", section 4.1). Differs: noise is drawn anew outside of training too, by a fixed
key; no truncation in training.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.nn.initializers import normal, ones, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import ops
from cnn.errors import UserError
from cnn.nn.family import Source

_PAPER = "Karras et al., Analyzing and improving the image quality of StyleGAN"
_SMALLEST = 4
_TAPS = (1, 3, 3, 1)
"""The low-pass filter of every doubling and halving."""

Map = Float[Array, "batch height width channels"]
NewMap = Float[Array, "batch new_height new_width features"]
Latents = Float[Array, "batch latent_size"]
Styles = Float[Array, "batch layers latent_size"]

VARIANTS: dict[str, dict[str, Any]] = {
    "stylegan2": {},
    "stylegan2_256": {"image_size": 256},
    "stylegan2_small": {
        "image_size": 32,
        "channels": 1,
        "latent_size": 64,
        "width_max": 64,
        "width_total": 512,
        "mapping_depth": 4,
    },
    "stylegan2_test": {
        "image_size": 16,
        "channels": 1,
        "latent_size": 8,
        "width_max": 8,
        "width_total": 64,
        "mapping_depth": 2,
    },
}


def source(name: str) -> Source:
    """The paper of a variant, and its images, which have no classes."""
    row = VARIANTS[name]
    size, channels = row.get("image_size", 1024), row.get("channels", 3)
    return Source(_PAPER, 2020, image_size=size, channels=channels, num_classes=0)


def kind(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a variant, of `cnn.kinds.KINDS`, and the options of an ordinary step.

    Three steps of four have no penalty.
    """
    del name
    return "stylegan2", {"r1_weight": 0.0, "path_weight": 0.0}


def sizes(image_size: int) -> list[int]:
    """The sides of the maps, from 4 pixels to the image's.

    Raises:
        UserError: If doubling does not lead there.
    """
    doublings = round(math.log2(max(image_size, 1) / _SMALLEST))
    if doublings < 1 or _SMALLEST * 2**doublings != image_size:
        raise UserError(
            f"StyleGAN2's images have a power of 2 of pixels from 8 on, got {image_size}; set "
            "model.image_size and preprocess.image_size"
        )
    return [_SMALLEST * 2**level for level in range(doublings + 1)]


def width_at(size: int, width_total: int, width_max: int) -> int:
    """Channels of maps of that side."""
    return min(width_total // size, width_max)


def activated(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Leaky ReLU, scaled so that a normal distribution keeps its second moment."""
    return jax.nn.leaky_relu(x, 0.2) * math.sqrt(2)


class Dense(linen.Module):
    """A dense layer with its weights scaled where they are used.

    Attributes:
        features: Of the output.
        rate: What weights and biases are multiplied by, so that they learn so many times faster.
        bias_init: Initialiser of the bias, which `rate` multiplies too.
        dtype: Of the computation.
    """

    features: int
    rate: float = 1.0
    bias_init: Any = zeros
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch features"]:
        """The product with the kernel, and the bias."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1 / self.rate), shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        scale = self.rate / math.sqrt(x.shape[-1])
        kernel, bias = (kernel * scale).astype(self.dtype), (bias * self.rate).astype(self.dtype)
        return ops.dense(x.astype(self.dtype), kernel, bias)


def modulated_conv(
    x: Map,
    kernel: Float[Array, "size size channels features"],
    styles: Float[Array, "batch channels"],
    *,
    demodulate: bool = True,
) -> Float[Array, "batch height width features"]:
    """A convolution whose kernel each image's style scales by input channel.

    Equations 1 and 3 of the paper: with `demodulate` the scaled kernel of each feature has length
    1. Scaling the channels before the convolution and the features after it is the same as a kernel
    an image (appendix B does it by groups), with one kernel for all.
    """
    styled = x * styles[:, None, None, :]
    y = ops.conv(styled, kernel, padding=kernel.shape[0] // 2)
    if not demodulate:
        return y
    power = jnp.sum(jnp.square(kernel), axis=(0, 1))
    lengths = jnp.square(styles) @ power
    return y * jax.lax.rsqrt(lengths + 1e-8)[:, None, None, :]


def doubled(x: Map) -> NewMap:
    """Twice the size: zeros between the pixels, then the low-pass filter."""
    batch, height, width, channels = x.shape
    spread = jnp.zeros((batch, height, 2, width, 2, channels), x.dtype)
    spread = spread.at[:, :, 0, :, 0].set(x).reshape(batch, 2 * height, 2 * width, channels)
    return _filtered(spread, 4.0, (2, 1))


def halved(x: Map) -> NewMap:
    """Half the size: the low-pass filter, then every other pixel."""
    return _filtered(x, 1.0, (1, 1))[:, ::2, ::2]


def _filtered(
    x: Map, gain: float, padding: tuple[int, int]
) -> Float[Array, "batch new_height new_width channels"]:
    taps = np.asarray(_TAPS, np.float32) / sum(_TAPS)
    kernel = gain * np.outer(taps, taps)[:, :, None, None]
    kernel = jnp.asarray(np.tile(kernel, (1, 1, 1, x.shape[-1])), x.dtype)
    return ops.conv(x, kernel, padding=(padding, padding), groups=x.shape[-1])


class Generator(linen.Module):
    """The mapping and the synthesis: latents to styles to images.

    In training noise is drawn from the rng `noise`.

    Attributes:
        latent_size: Numbers of a latent, and of a style.
        image_size: Height and width of an image in pixels, a power of 2.
        channels: Of an image.
        width_max: The most channels of a map.
        width_total: A map has this divided by its side, if that is less.
        mapping_depth: Dense layers of the mapping.
        dtype: Of the computation; images are float32 or wider.
    """

    latent_size: int = 512
    image_size: int = 1024
    channels: int = 3
    width_max: int = 512
    width_total: int = 32_768
    mapping_depth: int = 8
    dtype: DTypeLike = "float32"

    @property
    def num_layers(self) -> int:
        """How many layers take a style: two a map and one for the last image, less one."""
        return 2 * len(sizes(self.image_size))

    def setup(self) -> None:
        """Names the two parts."""
        self.mapping = Mapping(self.latent_size, self.mapping_depth, self.dtype)
        self.synthesis = Synthesis(
            self.image_size, self.channels, self.width_max, self.width_total, self.dtype
        )

    def styles(self, latents: Latents) -> Styles:
        """One style for all layers of an image."""
        style = self.mapping(latents)
        return jnp.repeat(style[:, None], self.num_layers, axis=1)

    def images(self, styles: Styles) -> Map:
        """The images of styles, one for each layer."""
        return self.synthesis(styles)

    def __call__(self, latents: Latents, *, train: bool = False) -> Map:
        """The images, with pixels about from -1 to 1."""
        del train
        return self.images(self.styles(latents))


class Mapping(linen.Module):
    """Latents to styles, by dense layers that learn a hundred times slower."""

    latent_size: int
    depth: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, latents: Latents) -> Latents:
        """The styles."""
        x = latents * jax.lax.rsqrt(jnp.mean(jnp.square(latents), axis=-1, keepdims=True) + 1e-8)
        for index in range(self.depth):
            layer = Dense(self.latent_size, 0.01, dtype=self.dtype, name=f"layer{index}")
            x = activated(layer(x))
        return x


class Synthesis(linen.Module):
    """Styles to images: figure 7's skip generator."""

    image_size: int
    channels: int
    width_max: int
    width_total: int
    dtype: DTypeLike

    @linen.compact
    def __call__(self, styles: Styles) -> Map:
        """The images."""
        widths = {
            size: width_at(size, self.width_total, self.width_max)
            for size in sizes(self.image_size)
        }
        shape = (1, _SMALLEST, _SMALLEST, widths[_SMALLEST])
        constant = self.param("constant", normal(1.0), shape, jnp.float32)
        x = jnp.broadcast_to(constant, (len(styles), *shape[1:])).astype(self.dtype)
        image, layer = None, 0
        for size, width in widths.items():
            if size > _SMALLEST:
                x = self._styled(x, styles[:, layer], width, f"size{size}_up", up=True)
                layer += 1
            x = self._styled(x, styles[:, layer], width, f"size{size}")
            layer += 1
            # The layer after it shares its style.
            more = self._to_image(x, styles[:, layer], f"size{size}_image")
            image = more if image is None else doubled(image) + more
        assert image is not None
        return image.astype(jnp.promote_types(self.dtype, jnp.float32))

    def _styled(self, x: Map, style: Latents, width: int, name: str, *, up: bool = False) -> NewMap:
        x = doubled(x) if up else x
        return StyledConv(width, 3, dtype=self.dtype, name=name)(x, style)

    def _to_image(self, x: Map, style: Latents, name: str) -> NewMap:
        layer = StyledConv(self.channels, 1, is_image=True, dtype=self.dtype, name=name)
        return layer(x, style)


class StyledConv(linen.Module):
    """A modulated convolution, noise and an activation; of an image, the convolution alone.

    Attributes:
        features: Of the output.
        kernel_size: Height and width of the kernel.
        is_image: Whether the output is an image: neither demodulated nor activated, without noise.
        dtype: Of the computation.
    """

    features: int
    kernel_size: int
    is_image: bool = False
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Map, style: Latents) -> Float[Array, "batch height width features"]:
        """The new map."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1.0), shape, jnp.float32)
        kernel = (kernel / math.sqrt(math.prod(shape[:3]))).astype(self.dtype)
        scales = Dense(x.shape[-1], bias_init=ones, dtype=self.dtype, name="style")(style)
        y = modulated_conv(x, kernel, scales, demodulate=not self.is_image)
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        bias = bias.astype(self.dtype).reshape(1, 1, 1, -1)
        if self.is_image:
            return y + bias
        strength = self.param("noise_strength", zeros, (), jnp.float32)
        key = self.make_rng("noise") if self.has_rng("noise") else jax.random.key(0)
        noise = jax.random.normal(key, (*y.shape[:3], 1), y.dtype)
        return activated(y + strength.astype(self.dtype) * noise + bias)


class Discriminator(linen.Module):
    """Images to scores: figure 7's residual discriminator.

    Its last layers see how much the images of a group differ (Karras et al. 2018, section 3), so a
    score is not of one image alone.

    Attributes:
        width_max: As the generator's.
        width_total: As the generator's.
        group_size: Images whose difference is seen; as many as divide the batch, at most. Under
            `pmap` that is what a replica has of it.
        dtype: Of the computation; scores are float32 or wider.
    """

    width_max: int = 512
    width_total: int = 32_768
    group_size: int = 4
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Map, *, train: bool = False) -> Float[Array, " batch"]:
        """The scores.

        Raises:
            UserError: If the images have another size than the generator makes.
        """
        del train
        maps = sizes(images.shape[1])[::-1]
        x = activated(self._conv(images, self._width(maps[0]), 1, "from_image"))
        for size, smaller in itertools.pairwise(maps):
            width = self._width(smaller)
            y = activated(self._conv(x, self._width(size), 3, f"size{size}"))
            down = ScaledConv(width, 3, halve=True, dtype=self.dtype, name=f"size{size}_down")
            skip = self._conv(halved(x), width, 1, f"size{size}_skip", bias=False)
            x = (activated(down(y)) + skip) / math.sqrt(2)
        x = jnp.concatenate([x, self._difference(x)], axis=-1)
        x = activated(self._conv(x, self._width(_SMALLEST), 3, "last"))
        x = Dense(self._width(_SMALLEST), dtype=self.dtype, name="dense")(x.reshape(len(x), -1))
        x = Dense(1, dtype=self.dtype, name="score")(activated(x))
        return x[:, 0].astype(jnp.promote_types(self.dtype, jnp.float32))

    def _width(self, size: int) -> int:
        return width_at(size, self.width_total, self.width_max)

    def _conv(
        self, x: Map, features: int, size: int, name: str, *, bias: bool = True
    ) -> Float[Array, "batch height width features"]:
        return ScaledConv(features, size, bias, dtype=self.dtype, name=name)(x)

    def _difference(self, x: Map) -> Float[Array, "batch height width 1"]:
        """The mean deviation of all values over a group of images."""
        group = max(n for n in range(1, self.group_size + 1) if len(x) % n == 0)
        # Groups of images that lie apart, as the authors' code has them.
        y = x.astype(jnp.float32).reshape(group, -1, *x.shape[1:])
        deviation = jnp.sqrt(jnp.var(y, axis=0) + 1e-8)
        mean = jnp.mean(deviation, axis=(1, 2, 3))
        column = jnp.tile(mean, group).reshape(-1, 1, 1, 1).astype(x.dtype)
        return jnp.broadcast_to(column, (*x.shape[:3], 1))


class ScaledConv(linen.Module):
    """A convolution with its kernel scaled where it is used.

    Attributes:
        features: Of the output.
        kernel_size: Height and width of the kernel.
        use_bias: Whether a bias is added.
        halve: Whether the map is filtered and its size halved by the stride; else it is kept.
        dtype: Of the computation.
    """

    features: int
    kernel_size: int
    use_bias: bool = True
    halve: bool = False
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, x: Map) -> NewMap:
        """The new map."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1.0), shape, jnp.float32)
        kernel = (kernel / math.sqrt(math.prod(shape[:3]))).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.halve:
            # What the filter and the kernel together reach beyond the edge, on both sides.
            reach = (len(_TAPS) - 2 + self.kernel_size - 1) // 2
            y = ops.conv(_filtered(x, 1.0, (reach, reach)), kernel, stride=2)
        else:
            y = ops.conv(x, kernel, padding=self.kernel_size // 2)
        if self.use_bias:
            bias = self.param("bias", zeros, (self.features,), jnp.float32)
            y += bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
