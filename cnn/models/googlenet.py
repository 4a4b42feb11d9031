"""GoogLeNet, the first Inception.

Szegedy et al. 2015, "Going deeper with convolutions": table 1 and sections 5 and 6
(`googlenet_2014`). Ioffe & Szegedy 2015, "Batch normalization": the norm of `googlenet`, which is
torchvision's.

Differs from the papers: `googlenet` has 3x3 kernels where the paper has 5x5 (torchvision's, and so
its weights'; `large_kernel_size=5` puts them back), a 2x2 last pooling, and less dropout.
`googlenet_2014` has no auxiliary classifiers unless `auxiliary` is set; its response normalisation,
of which the paper gives no numbers, is Krizhevsky's. Auxiliary classifiers average their map to 4x4
whatever its size, where the paper counts on one of 14x14.

Weights of `googlenet` are normal with deviation 0.01, as in torchvision; without norms they are
uniform with variance 1 / fan-in, and hidden biases 0.2, as in the model that Caffe publishes.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax.nn.initializers import Initializer, constant, lecun_uniform, normal, zeros
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cnn import nn, ops
from cnn.nn.family import Features, Source

_PAPER = "Szegedy et al., Going deeper with convolutions"

Image = Float[Array, "batch height width channels"]


class Widths(NamedTuple):
    """One Inception module, as a row of the paper's table 1 says it.

    Attributes:
        single: Channels of the 1x1 convolution that stands alone.
        reduce3: Of the 1x1 convolution before the 3x3 one.
        conv3: Of the 3x3 convolution.
        reduce5: Of the 1x1 convolution before the large one.
        conv5: Of the large convolution, 5x5 in the paper.
        pool: Of the 1x1 convolution after the pooling.
        auxiliary: Whether an auxiliary classifier reads the module's output.
    """

    single: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool: int
    auxiliary: bool = False


Stage = tuple[Widths, ...]

_STAGES: tuple[Stage, ...] = (
    (Widths(64, 96, 128, 16, 32, 32), Widths(128, 128, 192, 32, 96, 64)),
    (
        Widths(192, 96, 208, 16, 48, 64, auxiliary=True),
        Widths(160, 112, 224, 24, 64, 64),
        Widths(128, 128, 256, 24, 64, 64),
        Widths(112, 144, 288, 32, 64, 64, auxiliary=True),
        Widths(256, 160, 320, 32, 128, 128),
    ),
    (Widths(256, 160, 320, 32, 128, 128), Widths(384, 192, 384, 48, 128, 128)),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "googlenet": {"stages": _STAGES},
    "googlenet_2014": {
        "stages": _STAGES,
        "large_kernel_size": 5,
        "last_pool_size": 3,
        "batch_norm": False,
        "response_norm": True,
        "auxiliary": False,
        "auxiliary_pool": "windows",
        "dropout_rate": 0.4,
    },
    "googlenet_test": {
        "stages": (
            (Widths(4, 2, 4, 2, 2, 2, auxiliary=True),),
            (Widths(4, 4, 6, 2, 4, 2, auxiliary=True),),
        ),
        "stem_widths": (6, 4, 8),
        "auxiliary_widths": (4, 6),
    },
}


def source(name: str) -> Source:
    """The paper of a variant."""
    small = name.endswith("_test")
    return Source(_PAPER, 2014, image_size=32 if small else 224, num_classes=10 if small else 1000)


class Style(NamedTuple):
    """What all convolutions of a network have in common.

    Attributes:
        batch_norm: Whether they have a norm, or else a bias.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    batch_norm: bool
    sync: nn.Sync
    dtype: DTypeLike

    @property
    def kernel_init(self) -> Initializer:
        """Of all kernels."""
        return normal(0.01) if self.batch_norm else lecun_uniform()

    @property
    def bias_init(self) -> Initializer:
        """Of the biases of hidden layers."""
        return zeros if self.batch_norm else constant(0.2)


def _layer(
    x: Image, name: str, style: Style, *, train: bool, **conv: Any
) -> Float[Array, "batch new_height new_width features"]:
    """A convolution of the module that calls, a norm or a bias, and ReLU."""
    x = nn.Conv(
        **conv,
        use_bias=not style.batch_norm,
        kernel_init=style.kernel_init,
        bias_init=style.bias_init,
        dtype=style.dtype,
        name=f"{name}_conv",
    )(x)
    if style.batch_norm:
        norm = nn.BatchNorm(epsilon=1e-3, sync=style.sync, dtype=style.dtype, name=f"{name}_norm")
        x = norm(x, train=train)
    return linen.relu(x)


class Block(linen.Module):
    """An Inception module: convolutions of several sizes beside each other, figure 2(b).

    Attributes:
        widths: Of its convolutions.
        large_kernel_size: Of the third branch.
        style: Of its convolutions.
    """

    widths: Widths
    large_kernel_size: int
    style: Style

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> Float[Array, "batch height width features"]:
        """The branches' outputs, one after another in the channels."""
        widths = self.widths
        branches = (
            ((widths.single, 1),),
            ((widths.reduce3, 1), (widths.conv3, 3)),
            ((widths.reduce5, 1), (widths.conv5, self.large_kernel_size)),
            ((widths.pool, 1),),
        )
        outputs = []
        for branch, layers in enumerate(branches):
            y = x
            if branch == len(branches) - 1:
                y = ops.max_pool(x, 3, stride=1, padding=1)
            for index, (features, size) in enumerate(layers):
                y = _layer(
                    y,
                    f"branch{branch}_layer{index}",
                    self.style,
                    train=train,
                    features=features,
                    kernel_size=size,
                )
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


class Backbone(linen.Module):
    """The stem and the Inception modules: images -> the map before each pooling.

    Images are at least 15x15.

    Attributes:
        stages: The modules between two poolings.
        stem_widths: Channels of the stem's three convolutions.
        large_kernel_size: Of the modules' third branch: 3 as in torchvision, 5 as in the paper.
        last_pool_size: Of the pooling before the last stage: 2 as in torchvision, 3 as in the
            paper.
        batch_norm: Whether convolutions have a norm, or else a bias.
        response_norm: Whether local response normalisation follows the stem's first pooling and its
            last convolution.
        transform_input: Whether images normalised by ImageNet's mean and deviation are brought to
            [-1, 1], as the weights that torchvision publishes expect.
        remat: Of each module, as in `nn.remat`.
        sync: Of batch norm.
        dtype: Of the computation.
    """

    stages: tuple[Stage, ...]
    stem_widths: tuple[int, int, int] = (64, 64, 192)
    large_kernel_size: int = 3
    last_pool_size: int = 2
    batch_norm: bool = True
    response_norm: bool = False
    transform_input: bool = False
    remat: str = "none"
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, images: Image, *, train: bool = False) -> Features:
        """The features; auxiliary maps are those of the modules that say so."""
        style = Style(self.batch_norm, self.sync, self.dtype)
        maps = self._stem(images, style, train=train)
        stride = max(maps)
        x, auxiliary = maps[stride], []
        if self.response_norm:
            x = ops.local_response_norm(x)
        for stage, rows in enumerate(self.stages):
            last = 0 < stage == len(self.stages) - 1
            x = ops.max_pool(x, self.last_pool_size if last else 3, stride=2, ceil_mode=True)
            stride *= 2
            for index, widths in enumerate(rows):
                block = Block(
                    widths, self.large_kernel_size, style, name=f"stage{stage}_block{index}"
                )
                x = nn.remat(self.remat, block)(x, train=train)
                if widths.auxiliary:
                    auxiliary.append(x)
            maps[stride] = x
        return Features(maps, jnp.mean(x, axis=(1, 2)), tuple(auxiliary))

    def _stem(self, images: Image, style: Style, *, train: bool) -> dict[int, Array]:
        """The maps before the stem's two poolings, by stride."""
        if self.transform_input:
            images = ops.to_half_range(images)
        first, reduced, last = self.stem_widths

        def layer(
            x: Image, name: str, features: int, size: int, stride: int = 1
        ) -> Float[Array, "batch _ _ features"]:
            return _layer(
                x, name, style, train=train, features=features, kernel_size=size, stride=stride
            )

        early = layer(images, "stem", first, 7, stride=2)
        x = ops.max_pool(early, 3, stride=2, ceil_mode=True)
        if self.response_norm:
            x = ops.local_response_norm(x)
        return {2: early, 4: layer(layer(x, "stem1", reduced, 1), "stem2", last, 3)}


class Auxiliary(linen.Module):
    """A classifier of a map on the way: section 5.

    Attributes:
        num_classes: How many logits.
        widths: Channels of the 1x1 convolution and units of the hidden layer.
        pool: `adaptive` or `windows`: see `Head`.
        dropout_rate: Of the hidden layer.
        style: Of the convolution.
    """

    num_classes: int
    widths: tuple[int, int]
    pool: str
    dropout_rate: float
    style: Style

    @linen.compact
    def __call__(self, x: Image, *, train: bool) -> Float[Array, "batch classes"]:
        """The logits."""
        style = self.style
        windows = nn.choose("auxiliary_pool", self.pool, {"adaptive": False, "windows": True})
        if windows and min(x.shape[1:3]) >= 14:
            x = ops.avg_pool(x, 5, stride=3)
        x = ops.adaptive_avg_pool(x, 4)
        width, hidden_size = self.widths
        x = _layer(x, "reduce", style, train=train, features=width, kernel_size=1)
        hidden = linen.DenseGeneral(
            hidden_size,
            (1, 2, 3),
            kernel_init=style.kernel_init,
            bias_init=style.bias_init,
            dtype=style.dtype,
            name="hidden",
        )
        x = linen.relu(hidden(x))
        x = linen.Dropout(self.dropout_rate)(x, deterministic=not train)
        return _logits(x, self.num_classes, style)


class Head(linen.Module):
    """Dropout and a dense layer, and in training the auxiliary classifiers.

    The logits of the auxiliary classifiers are in the collection `auxiliary` where that is mutable;
    in evaluation they are not computed.

    Attributes:
        num_classes: How many logits.
        auxiliary: Whether there are auxiliary classifiers.
        auxiliary_widths: Channels of their 1x1 convolution and units of their hidden layer.
        auxiliary_pool: How they come to a map of 4x4: `adaptive` as in torchvision, or `windows` of
            5x5 pixels at stride 3 as in the paper, which fit maps from 14x14 on.
        batch_norm: Whether their convolution has a norm, or else a bias.
        dropout_rate: Of the pooled features; the paper has 0.4.
        auxiliary_dropout_rate: Of the auxiliary classifiers' hidden layer.
        sync: Of batch norm.
        dtype: Of the computation; logits are float32 or wider.
    """

    num_classes: int
    auxiliary: bool = True
    auxiliary_widths: tuple[int, int] = (128, 1024)
    auxiliary_pool: str = "adaptive"
    batch_norm: bool = True
    dropout_rate: float = 0.2
    auxiliary_dropout_rate: float = 0.7
    sync: nn.Sync = nn.WHOLE_BATCH
    dtype: DTypeLike = "float32"

    @linen.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits."""
        style = Style(self.batch_norm, self.sync, self.dtype)
        if self.auxiliary and (train or self.is_initializing()):
            for index, x in enumerate(features.auxiliary):
                classifier = Auxiliary(
                    self.num_classes,
                    self.auxiliary_widths,
                    self.auxiliary_pool,
                    self.auxiliary_dropout_rate,
                    style,
                    name=f"auxiliary{index}",
                )
                logits = classifier(x, train=train)
                if not self.is_initializing():
                    # `logits` is the name of the last layer.
                    self.sow("auxiliary", "auxiliary_logits", logits)
        x = linen.Dropout(self.dropout_rate)(features.pooled, deterministic=not train)
        return _logits(x, self.num_classes, style)


def _logits(
    x: Float[Array, "batch features"], num_classes: int, style: Style
) -> Float[Array, "batch classes"]:
    """The last layer of the module that calls."""
    dense = linen.Dense(
        num_classes, kernel_init=style.kernel_init, dtype=style.dtype, name="logits"
    )
    return dense(x).astype(jnp.promote_types(style.dtype, jnp.float32))
