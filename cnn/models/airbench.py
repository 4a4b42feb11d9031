"""airbench94: a small network that reaches 94 % on CIFAR-10 within seconds of training.

Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU": section 3 and its code.

The first convolution whitens patches of 2x2 pixels: its kernel is not trained but set, once, from
training images. `whitening_kernel` makes it:

    images = ...  # 5,000 training images, as the network will see them (normalised)
    params["backbone"]["stem_conv"]["kernel"] = airbench.whitening_kernel(images)

The published count of 1,972,792 parameters has 1,440 that are not trained: this kernel (288) and
the gains of the norms (1,152). Here they are parameters like others and get no gradient, unless
`train_frozen` says so. A penalty of the optimizer on kernels would still pull at the first.

Differs from the paper: the last pooling is over whatever map there is, which is 3x3 for images of
32x32. The bias of the first layer is trained throughout, where the paper stops after 3 epochs.

Convolutions start as the identity on as many channels as they have, and as torch's default beyond
(uniform within 1 / sqrt(fan-in)), as the classifier does.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU"
_torch_default = variance_scaling(1 / 3, "fan_in", "uniform")

Image = Float[Array, "batch height width channels"]

VARIANTS: dict[str, dict[str, Any]] = {
    "airbench94": {"widths": (64, 256, 256)},
    "airbench_test": {"widths": (8, 12), "train_frozen": True},
}


def source(name: str) -> Source:
    """The paper of a variant."""
    del name
    return Source(_PAPER, 2024, image_size=32, num_classes=10)


def whitening_kernel(
    images: Image, *, size: int = 2, epsilon: float = 5e-4
) -> Float[Array, "{size} {size} channels features"]:
    """The first layer's kernel, which makes its patches uncorrelated and of variance about 1.

    Eigenvectors of the patches' second moments, the largest first, each divided by the square root
    of its eigenvalue; then the same with the other sign, since an activation follows. There are 2
    size^2 channels features.

    Args:
        images: Training images, normalised: their mean is taken to be 0. A few thousand.
        size: Height and width of a patch.
        epsilon: Added to the eigenvalues, so that noise is not blown up.
    """
    height, width, channels = (
        n - size + 1 for n in (*images.shape[1:3], images.shape[3] + size - 1)
    )
    places = [
        images[:, row : row + height, column : column + width]
        for row in range(size)
        for column in range(size)
    ]
    patches = jnp.stack(places, axis=3).reshape(-1, size * size * channels)
    moments = jnp.matmul(patches.T, patches, precision="highest") / patches.shape[0]
    values, vectors = jnp.linalg.eigh(moments)
    scaled = (vectors / jnp.sqrt(values + epsilon)[None])[:, ::-1]
    return jnp.concatenate([scaled, -scaled], axis=1).reshape(size, size, channels, -1)


def _without_gradient(layer: type[linen.Module], name: str, *, init: bool) -> Any:
    """The layer, whose parameter of that name gets no gradient; `init` while they are made."""

    def stop(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: lax.stop_gradient(leaf) if path[-1].key == name else leaf, params
        )

    return linen.map_variables(layer, "params", stop, init=init)


def dirac(
    key: Array, shape: Sequence[Any], dtype: Any = None, out_sharding: Any = None
) -> Float[Array, "height width channels features"]:
    """Initialiser of a kernel: the first features are the channels, the others are random."""
    height, width, channels, features = shape
    kept = min(channels, features)
    kernel = _torch_default(key, shape, dtype, out_sharding).at[:, :, :, :kept].set(0)
    places = jnp.arange(kept)
    return kernel.at[height // 2, width // 2, places, places].set(1)


class Group(linen.Module):
    """Convolution, max pooling, norm and activation; convolution, norm and activation.

    Attributes:
        width: Channels.
        train_frozen: Whether the norms' gains are trained.
        activation: As in `nn.activation`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    width: int
    train_frozen: bool
    activation: str
    sync: nn.Sync
    dtype: DTypeLike

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> Float[Array, "batch _ _ {self.width}"]:
        """The group's output."""
        layer = nn.BatchNorm
        if not self.train_frozen:
            layer = _without_gradient(layer, "scale", init=self.is_initializing())
        for index in range(2):
            conv = nn.Conv(self.width, 3, kernel_init=dirac, dtype=self.dtype, name=f"conv{index}")
            x = conv(x)
            if index == 0:
                x = ops.max_pool(x, 2)
            norm = layer(
                momentum=0.6,
                epsilon=1e-12,
                sync=self.sync,
                dtype=self.dtype,
                name=f"norm{index}",
            )
            x = nn.activation(self.activation)(norm(x, train=train))
        return x


class Backbone(linen.Module):
    """The whitening layer and the groups: images -> a map after each.

    Attributes:
        widths: Channels of each group; each halves the map.
        patch_size: Height and width of the whitened patches.
        train_frozen: Whether the whitening kernel and the norms' gains get gradients.
        activation: As in `nn.activation`.
        remat: Of each group, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    widths: tuple[int, ...]
    patch_size: int = 2
    train_frozen: bool = False
    activation: str = "gelu"
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; the pooled ones are the largest of the last map."""
        layer = nn.Conv
        if not self.train_frozen:
            layer = _without_gradient(layer, "kernel", init=self.is_initializing())
        stem = layer(
            2 * self.patch_size**2 * images.shape[-1],
            self.patch_size,
            padding=0,
            use_bias=True,
            kernel_init=dirac,
            dtype=self.dtype,
            name="stem_conv",
        )
        x = nn.activation(self.activation)(stem(images))
        maps = {1: x}
        for index, width in enumerate(self.widths):
            group = Group(
                width,
                self.train_frozen,
                self.activation,
                self.sync,
                self.dtype,
                name=f"group{index}",
            )
            x = maps[2 << index] = nn.remat(self.remat, group)(x, train=train)
        return Features(maps, jnp.max(x, axis=(1, 2)))


class Head(linen.Module):
    """A dense layer without bias on the pooled features, scaled.

    Attributes:
        num_classes: How many logits.
        scale: Of the logits.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    scale: float = 1 / 9
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits; `train` changes nothing here."""
        del train
        x = linen.Dense(
            self.num_classes,
            use_bias=False,
            kernel_init=_torch_default,
            dtype=self.dtype,
            name="logits",
        )(features.pooled)
        return self.scale * x.astype(jnp.promote_types(self.dtype, jnp.float32))
