"""Weights of torchvision and timm: state dicts with torch's names <-> our variables, both ways.

One file a family says how the names go; `layout` does the rest. Nothing here needs torch: a state
dict is a mapping of names to NumPy arrays.
"""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from cnn import errors, models
from cnn.pretrained import layout as layouts
from cnn.pretrained.layout import Layout, Path

__all__ = ["families", "from_torch", "to_torch"]

_FAMILIES = (
    "alexnet",
    "vgg",
    "googlenet",
    "inception",
    "resnet",
    "resnet_v2",
    "densenet",
    "mobilenet",
    "efficientnet",
    "convnext",
    "vit",
    "mixer",
)

Shape = tuple[int, ...]


def families() -> tuple[str, ...]:
    """The families whose weights can be converted."""
    return _FAMILIES


def from_torch(
    name: str, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], **overrides: Any
) -> dict[str, Any]:
    """The variables of a classifier from a state dict; the library is recognised by the names.

    The numbers of classes, channels and (ViT) tokens are those of the state dict, and so is whether
    there are auxiliary classifiers. Dtypes are kept.

    Args:
        name: In the registry.
        state_dict: Tensors by torch's names. A batch norm's `num_batches_tracked` may be there or
            not; it has no counterpart.
        **overrides: As for `models.classifier`, where the weights are of a changed network.

    Raises:
        UserError: If a tensor is missing, left over or of another shape; names the first such. If
            the network is unknown or of a family without a conversion.
    """
    paths = _shapes(name, lambda path: None, overrides)

    def matches(candidate: Layout) -> int:
        return sum(part.name in state_dict for part in layouts.parts(candidate, paths))

    best = max(_family(name).layouts(name, **overrides).values(), key=matches)

    def shape_of(path: Path) -> Shape | None:
        part = best(path[1:])
        return (
            layouts.shape_in_ours(path, state_dict[part.name]) if part.name in state_dict else None
        )

    return layouts.nested(layouts.read(state_dict, best, _shapes(name, shape_of, overrides)))


def to_torch(
    name: str, variables: Mapping[str, Any], *, layout: str | None = None, **overrides: Any
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The state dict of a classifier's variables, or of anything of their structure (gradients).

    `from_torch` of it gives the same bytes, and the other way round but for `num_batches_tracked`,
    which is 0.

    Args:
        name: In the registry.
        variables: What `from_torch` gives.
        layout: `torchvision` or `timm`: whose names; None takes torchvision's where torchvision has
            the network.
        **overrides: As for `models.classifier`, where the weights are of a changed network.

    Raises:
        UserError: If an array is missing, left over or of another shape; names the first such. If
            the network or the layout is unknown.
    """
    known = _family(name).layouts(name, **overrides)
    chosen = next(iter(known)) if layout is None else layout
    if chosen not in known:
        raise errors.unknown(f"layout of {name}", chosen, known)
    arrays = layouts.paths_of(variables)

    def shape_of(path: Path) -> Shape | None:
        return np.shape(arrays[path]) if path in arrays else None

    shapes = _shapes(name, shape_of, overrides)
    for path, shape in shapes.items():
        if path not in arrays:
            raise errors.UserError(f"the variables lack {'/'.join(path)!r} of {name}")
        if np.shape(arrays[path]) != shape:
            raise errors.UserError(
                f"{'/'.join(path)!r} has shape {np.shape(arrays[path])}, and {shape} in {name}"
            )
    for path in arrays:
        if path not in shapes:
            raise errors.UserError(f"the variables have {'/'.join(path)!r}, which {name} has not")
    return layouts.write({path: np.asarray(arrays[path]) for path in shapes}, known[chosen])


def _family(name: str) -> ModuleType:
    family = models.family_of(name)
    if family not in _FAMILIES:
        raise errors.UserError(
            f"{name!r} is of the family {family!r}, whose weights are not published in torch"
            f" (known: {', '.join(_FAMILIES)})"
        )
    return importlib.import_module(f"{__name__}.{family}")


def _shapes(
    name: str, shape_of: Callable[[Path], Shape | None], overrides: Mapping[str, Any]
) -> dict[Path, Shape]:
    """The shape of every array of the network, in the order of the forward pass.

    What a network of that name leaves open (classes, channels, image size, auxiliary classifiers)
    comes from `shape_of`, the shapes at hand; None where there is none.
    """
    family = _family(name)
    source = models.source(name)
    stem = shape_of(("params", "backbone", "stem_conv", "kernel"))
    logits = shape_of(("params", "head", "logits", "kernel"))
    channels = stem[2] if stem and len(stem) == 4 else source.channels
    num_classes = logits[-1] if logits and len(logits) > 1 else source.num_classes
    told = family.fields(shape_of) if hasattr(family, "fields") else {}
    model = models.classifier(name, **{"num_classes": num_classes, **told, **overrides})
    size = (source.image_size, source.image_size)
    if hasattr(family, "image_size"):
        size = family.image_size(model.backbone, shape_of) or size
    shapes: dict[Path, Shape] = {}

    def init(key: Any, images: Any) -> None:
        variables = model.init({"params": key}, images, train=False)
        # Here, since what leaves eval_shape has its keys sorted.
        shapes.update({p: leaf.shape for p, leaf in layouts.paths_of(variables).items()})

    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    jax.eval_shape(init, jax.random.key(0), images)
    return shapes
