"""The registry of networks: a name -> a linen module, whose file is imported when it is asked for.

`classifier` makes logits, `backbone` features for other tasks. The parameters of a classifier are
`{"backbone": ..., "head": ...}`, so a dense task takes weights over by path. In every
family the first convolution is `backbone/stem_conv` and the last layer `head/logits`.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

from cnn import errors, nn
from cnn.nn.family import Features, Source

__all__ = [
    "Classifier",
    "Features",
    "ModelInfo",
    "Source",
    "backbone",
    "classifier",
    "describe",
    "families",
    "family_of",
    "names",
    "source",
]

_NAMES = {
    "mlp": ("mlp", "mlp_test"),
    "lenet": ("lenet5", "lenet5_1998", "lenet_test", "lenet_1998_test"),
    "alexnet": ("alexnet", "alexnet_2012", "alexnet_test"),
    "vgg": (
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
        "vgg11_bn",
        "vgg13_bn",
        "vgg16_bn",
        "vgg19_bn",
        "vgg_test",
    ),
    "resnet": (
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnext50_32x4d",
        "resnext101_32x8d",
        "wide_resnet50_2",
        "wide_resnet101_2",
        "resnet8_cifar",
        "resnet20_cifar",
        "resnet32_cifar",
        "resnet44_cifar",
        "resnet56_cifar",
        "resnet110_cifar",
        "resnet_test",
    ),
    "densenet": (
        "densenet121",
        "densenet161",
        "densenet169",
        "densenet201",
        "densenet_bc_100_12_cifar",
        "densenet_bc_250_24_cifar",
        "densenet_bc_190_40_cifar",
        "densenet_test",
    ),
    "mobilenet": (
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mobilenet_test",
    ),
    "efficientnet": (
        *(f"efficientnet_b{size}" for size in range(8)),
        "efficientnet_v2_s",
        "efficientnet_v2_m",
        "efficientnet_v2_l",
        "efficientnet_test",
    ),
    "airbench": ("airbench94", "airbench_test"),
    "convnext": (
        "convnext_atto",
        "convnext_femto",
        "convnext_pico",
        "convnext_nano",
        "convnext_tiny",
        "convnext_small",
        "convnext_base",
        "convnext_large",
        "convnext_test",
    ),
    "vit": (
        "vit_ti_16",
        "vit_s_16",
        "vit_s_32",
        "vit_b_16",
        "vit_b_32",
        "vit_l_16",
        "vit_l_32",
        "vit_h_14",
        "vit_test",
    ),
    "mixer": ("mixer_s_16", "mixer_b_16", "mixer_l_16", "mixer_test"),
}
_FAMILIES = {name: family for family, members in _NAMES.items() for name in members}


class Classifier(linen.Module):
    """A backbone and a head.

    Attributes:
        backbone: Images -> `Features`.
        head: `Features` -> logits.
    """

    backbone: Callable[..., Features]
    head: Callable[..., Float[Array, "batch classes"]]

    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """The float32 logits; with `train` batch statistics move and stochastic layers draw."""
        return self.head(self.backbone(images, train=train), train=train)


class ModelInfo(NamedTuple):
    """Facts of a registered network.

    Attributes:
        name: In the registry.
        family: Name of its file in `cnn.models`.
        parameters: Trained ones of the classifier, for the images and classes below.
        image_size: Height and width in pixels of the paper's images.
        channels: Of the paper's images.
        num_classes: Of the paper's data set.
        paper: Authors and title.
        year: Of the paper.
    """

    name: str
    family: str
    parameters: int
    image_size: int
    channels: int
    num_classes: int
    paper: str
    year: int


def classifier(
    name: str, *, num_classes: int = 1000, axis_name: str | None = None, **overrides: Any
) -> Classifier:
    """The classifier of that name: NHWC float images -> float32 logits.

    Args:
        name: In the registry.
        num_classes: How many logits.
        axis_name: The mapped axis over which batch norm takes its statistics under `pmap`; families
            without batch norm have no use for it.
        **overrides: Fields of the backbone or of the head, by name; one that both have (`dtype`)
            goes to both.

    Raises:
        UserError: If there is no such network, field or dtype, or no class.
    """
    if num_classes < 1:
        raise errors.UserError(f"num_classes is {num_classes}: a classifier needs at least one")
    family = _module(name)
    head = getattr(family, "Head", nn.LinearHead)
    body_fields, head_fields = _fields(family.Backbone), _fields(head) - {"num_classes"}
    row = family.VARIANTS[name]
    values = {**row, **_values(name, overrides, body_fields | head_fields)}
    head_values = {key: value for key, value in values.items() if key in head_fields}
    return Classifier(
        backbone=_backbone(family, axis_name, values),
        head=head(num_classes=num_classes, **head_values),
    )


def backbone(name: str, *, axis_name: str | None = None, **overrides: Any) -> linen.Module:
    """The network of that name without a head: NHWC float images -> `Features`.

    Args:
        name: In the registry.
        axis_name: As for `classifier`.
        **overrides: Fields of the backbone, by name.

    Raises:
        UserError: If there is no such network, field or dtype.
    """
    family = _module(name)
    values = _values(name, overrides, _fields(family.Backbone))
    return _backbone(family, axis_name, {**family.VARIANTS[name], **values})


def names(family: str | None = None) -> tuple[str, ...]:
    """The registered names, of one family or (None) of all.

    Raises:
        UserError: If there is no such family.
    """
    return tuple(_FAMILIES) if family is None else nn.choose("family", family, _NAMES)


def families() -> tuple[str, ...]:
    """The families, each the name of a file."""
    return tuple(_NAMES)


def family_of(name: str) -> str:
    """The family of a registered name.

    Raises:
        UserError: If there is no such network.
    """
    return nn.choose("model", name, _FAMILIES)


def source(name: str) -> Source:
    """Where the network of that name comes from.

    Raises:
        UserError: If there is no such network.
    """
    return _module(name).source(name)


def describe(name: str) -> ModelInfo:
    """Facts of the network of that name, without computing anything.

    Raises:
        UserError: If there is no such network.
    """
    family = family_of(name)
    facts = source(name)
    shape = (1, facts.image_size, facts.image_size, facts.channels)
    model = classifier(name, num_classes=facts.num_classes)
    variables = jax.eval_shape(
        lambda key, images: model.init({"params": key}, images, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return ModelInfo(name, family, parameters, **facts._asdict())


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{family_of(name)}")


def _backbone(family: ModuleType, axis_name: str | None, values: Mapping[str, Any]) -> linen.Module:
    """The backbone; what of a row or of overrides is the head's is left out."""
    known = _fields(family.Backbone)
    fields = {key: value for key, value in values.items() if key in known}
    if "axis_name" in known:
        fields["axis_name"] = axis_name
    return family.Backbone(**fields)


def _fields(module: Any) -> set[str]:
    """The fields that can be overridden; `axis_name` has an argument of its own."""
    known = {field.name for field in dataclasses.fields(module)}
    return known - {"parent", "name"}


def _values(name: str, overrides: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The overrides as linen wants them: hashable, and with dtypes that exist."""
    values = {}
    for key, value in overrides.items():
        if key not in known:
            raise errors.unknown(f"field of {name}", key, known)
        # A config holds lists, a module must be hashable.
        values[key] = tuple(value) if isinstance(value, list) else value
    if "dtype" in values:
        values["dtype"] = _dtype(values["dtype"])
    return values


def _dtype(value: Any) -> Any:
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise errors.unknown("dtype", str(value), ("bfloat16", "float16", "float32", "float64"))
    return dtype
