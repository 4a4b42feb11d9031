"""Weights of torchvision and timm: state dicts with torch's names <-> our variables, both ways.

One file a family says how the names go; `layout` does the rest. Nothing here needs torch: a state
dict is a mapping of names to NumPy arrays, and `files` reads and writes those.
"""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from cnn import detectors, errors, heads, models
from cnn.pretrained import detector, segmenter
from cnn.pretrained import layout as layouts
from cnn.pretrained.files import Weights, read, write
from cnn.pretrained.layout import Layout, Path
from cnn.pretrained.source import open_weights

__all__ = [
    "Layout",
    "Weights",
    "check",
    "families",
    "from_torch",
    "from_torch_partly",
    "layout_like",
    "layouts_of",
    "num_classes_of",
    "open_weights",
    "read",
    "to_torch",
    "write",
]

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
    "segmenter",
    "detector",
)

Shape = tuple[int, ...]


def families() -> tuple[str, ...]:
    """The families whose weights can be converted, all segmenters being one, as all detectors."""
    return _FAMILIES


def from_torch(
    name: str, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], **overrides: Any
) -> dict[str, Any]:
    """The variables of a network from a state dict; the library is recognised by the names.

    The numbers of classes, channels and (ViT) tokens are those of the state dict, and so is whether
    there are auxiliary classifiers. Dtypes are kept.

    Args:
        name: In the registry: a classifier, a segmenter or a detector.
        state_dict: Tensors by torch's names. A batch norm's `num_batches_tracked` may be there or
            not; it has no counterpart, and comes back through the argument `like` of `to_torch`.
        **overrides: As for `models.network`, where the weights are of a changed network.

    Raises:
        UserError: If a tensor is missing, left over or of another shape; names the first such. If
            the network is unknown or of a family without a conversion.
    """
    return from_torch_partly(name, state_dict, lambda path: False, **overrides)


def from_torch_partly(
    name: str,
    state_dict: Mapping[str, Shaped[np.ndarray, "..."]],
    may_lack: Callable[[Path], bool],
    **overrides: Any,
) -> dict[str, Any]:
    """As `from_torch`, but of some arrays (by path) the tensors may be missing."""
    known = _family(name).layouts(name, **overrides)
    best = known[layout_like(name, state_dict, **overrides)]

    def shape_of(path: Path) -> Shape | None:
        part = best(path[1:])
        return (
            layouts.shape_in_ours(path, state_dict[part.name], swapped=part.swapped)
            if part.name in state_dict
            else None
        )

    shapes = {
        path: shape
        for path, shape in _shapes(name, shape_of, overrides).items()
        if best(path[1:]).name in state_dict or not may_lack(path)
    }
    return layouts.nested(layouts.read(state_dict, best, shapes))


def layouts_of(name: str, **overrides: Any) -> dict[str, Layout]:
    """The layouts of the network, by library; none where its weights are not published in torch.

    Raises:
        UserError: If the network is unknown.
    """
    if _family_of(name) not in _FAMILIES:
        return {}
    return _family(name).layouts(name, **overrides)


def layout_like(
    name: str, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], **overrides: Any
) -> str:
    """Whose names those of a state dict are: the layout that has most of them.

    Raises:
        UserError: If the network is unknown or of a family without a conversion.
    """
    known = _family(name).layouts(name, **overrides)
    paths = _shapes(name, lambda path: None, overrides)

    def matches(candidate: str) -> int:
        return sum(part.name in state_dict for part in layouts.parts(known[candidate], paths))

    return max(known, key=matches)


def to_torch(
    name: str,
    variables: Mapping[str, Any],
    *,
    layout: str | None = None,
    like: Mapping[str, Shaped[np.ndarray, "..."]] | None = None,
    **overrides: Any,
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The state dict of a classifier's variables, or of anything of their structure (gradients).

    `from_torch` of it gives the same bytes. The other way round, `to_torch(name, from_torch(name,
    state), like=state)` is `state` to the byte. Only batch norm's `num_batches_tracked` needs
    `like`: it counts batches, which nothing here does, so variables do not carry it through a
    training that would leave it wrong.

    Args:
        name: In the registry.
        variables: What `from_torch` gives.
        layout: `torchvision` or `timm`: whose names; None takes those of `like`, or without it
            torchvision's where torchvision has the network.
        like: A state dict, in any layout, whose `num_batches_tracked` are taken over (where it has
            none, there will be none); None writes 0.
        **overrides: As for `models.network`, where the weights are of a changed network.

    Raises:
        UserError: If an array is missing, left over or of another shape; names the first such. If
            the network or the layout is unknown.
    """
    known = _family(name).layouts(name, **overrides)
    liked = None if like is None else layout_like(name, like, **overrides)
    chosen = layout or liked or next(iter(known))
    if chosen not in known:
        raise errors.unknown(f"layout of {name}", chosen, known)
    arrays = check(name, variables, **overrides)
    if like is None or liked is None:
        return layouts.write(arrays, known[chosen])
    state = layouts.write(arrays, known[chosen], layouts.counters(like, arrays, known[liked]))
    return {key: state[key] for key in like} if state.keys() == like.keys() else state


def check(
    name: str,
    variables: Mapping[str, Any],
    *,
    image_size: tuple[int, int] | None = None,
    may_lack: Callable[[Path], bool] = lambda path: False,
    **overrides: Any,
) -> dict[Path, Shaped[np.ndarray, "..."]]:
    """The arrays of a classifier's variables by path, in the order of the forward pass.

    Args:
        name: In the registry; of any family.
        variables: Nested dicts.
        image_size: Height and width for which dense layers on maps were made; None means the
            paper's.
        may_lack: Whether an array, by path, may be missing.
        **overrides: As for `models.network`.

    Raises:
        UserError: If an array is missing, left over or of another shape; names the first such. If
            the network is unknown.
    """
    arrays = layouts.paths_of(variables)

    def shape_of(path: Path) -> Shape | None:
        return np.shape(arrays[path]) if path in arrays else None

    shapes = _shapes(name, shape_of, overrides, image_size)
    for path, shape in shapes.items():
        if path not in arrays:
            if may_lack(path):
                continue
            raise errors.UserError(f"the variables lack {'/'.join(path)!r} of {name}")
        if np.shape(arrays[path]) != shape:
            raise errors.UserError(
                f"{'/'.join(path)!r} has shape {np.shape(arrays[path])}, and {shape} in {name}"
            )
    for path in arrays:
        if path not in shapes:
            raise errors.UserError(f"the variables have {'/'.join(path)!r}, which {name} has not")
    return {path: np.asarray(arrays[path]) for path in shapes if path in arrays}


def _family_of(name: str) -> str:
    """The name of a file here, or for what has none of a network's own."""
    if name in models.detectors():
        kind = detectors.family_of(name)
        return "detector" if kind in detector.KINDS else kind
    if name not in models.segmenters():
        return models.family_of(name)
    head = heads.family_of(name)
    return "segmenter" if head in segmenter.HEADS else head


def _family(name: str) -> ModuleType:
    family = _family_of(name)
    if family not in _FAMILIES:
        raise errors.UserError(
            f"{name!r} is of the family {family!r}, whose weights are not published in torch"
            f" (known: {', '.join(_FAMILIES)})"
        )
    return importlib.import_module(f"{__name__}.{family}")


def num_classes_of(name: str, arrays: Mapping[Path, Shaped[np.ndarray, "..."]]) -> int:
    """How many classes a network's weights are for, by their paths."""
    return _told(name, lambda path: np.shape(arrays[path]) if path in arrays else None)[
        "num_classes"
    ]


def _told(name: str, shape_of: Callable[[Path], Shape | None]) -> dict[str, Any]:
    """The fields that weights tell of a network, the number of classes among them."""
    source = models.source(name)
    family = _family(name) if _family_of(name) in _FAMILIES else None
    logits = shape_of(("params", "head", "logits", "kernel"))
    num_classes = logits[-1] if logits and len(logits) > 1 else source.num_classes
    told = family.fields(shape_of) if family is not None and hasattr(family, "fields") else {}
    return {"num_classes": num_classes, **told}


def _shapes(
    name: str,
    shape_of: Callable[[Path], Shape | None],
    overrides: Mapping[str, Any],
    image_size: tuple[int, int] | None = None,
) -> dict[Path, Shape]:
    """The shape of every array of the network, in the order of the forward pass.

    What a network of that name leaves open (classes, channels, image size, auxiliary classifiers)
    comes from `shape_of`, the shapes at hand; None where there is none.
    """
    source = models.source(name)
    stem = shape_of(("params", "backbone", "stem_conv", "kernel"))
    channels = stem[2] if stem and len(stem) == 4 else source.channels
    family = _family(name) if _family_of(name) in _FAMILIES else None
    told = _told(name, shape_of)
    model: Any = models.network(name, **{**told, **overrides})
    size = image_size or (source.image_size, source.image_size)
    if family is not None and hasattr(family, "image_size"):
        size = family.image_size(model.backbone, shape_of) or size
    shapes: dict[Path, Shape] = {}

    def init(key: Any, images: Any) -> None:
        variables = model.init({"params": key}, images, train=False)
        # Here, since what leaves eval_shape has its keys sorted.
        shapes.update({p: leaf.shape for p, leaf in layouts.paths_of(variables).items()})

    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    jax.eval_shape(init, jax.random.key(0), images)
    return shapes
