"""The registry of networks: a name -> a linen module, whose file is imported when it is asked for.

`classifier` makes logits, `segmenter` those of each pixel, `detector` finds objects, `generator`
makes pictures, `backbone` makes features for other tasks. The parameters of a classifier are
`{"backbone": ..., "head": ...}`, so a dense task takes weights over by path. In every family the
first convolution is `backbone/stem_conv` and the last layer `head/logits`.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from flax import linen
from jaxtyping import Array, Float

from cnn import detectors as detection
from cnn import errors, generators, heads, nn
from cnn.models._facts import ModelInfo, count, size_of, table
from cnn.models._fields import fields_of, known_of, sync_of, values_of
from cnn.models._names import NAMES
from cnn.nn.family import Features, Source

__all__ = [
    "TASKS",
    "Classifier",
    "Features",
    "ModelInfo",
    "Source",
    "backbone",
    "backbone_of",
    "classifier",
    "count",
    "describe",
    "detector",
    "detectors",
    "families",
    "family_of",
    "generator",
    "kind_of",
    "layers_above",
    "measure",
    "names",
    "network",
    "registered",
    "segmenter",
    "segmenters",
    "size_fields",
    "source",
    "task_of",
    "whitening_kernel",
]

_CLASSIFIERS = nn.Registry(__name__, "model", NAMES)
names, families, family_of = _CLASSIFIERS.names, _CLASSIFIERS.families, _CLASSIFIERS.family_of
segmenters, detectors = heads.names, detection.names
_BY_TASK = {
    "classification": _CLASSIFIERS,
    "segmentation": heads.REGISTRY,
    "detection": detection.REGISTRY,
    "generation": generators.REGISTRY,
}
TASKS = tuple(_BY_TASK)
"""What networks are for."""


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


def classifier(
    name: str,
    *,
    num_classes: int = 1000,
    axis_name: str | None = None,
    norm_group_size: int = 0,
    **overrides: Any,
) -> Classifier:
    """The classifier of that name: NHWC float images -> float32 logits.

    Args:
        name: In the registry.
        num_classes: How many logits.
        axis_name: The mapped axis over which batch norm takes its statistics under `pmap`; families
            without batch norm have no use for it.
        norm_group_size: How many neighbouring examples of a batch share the statistics of batch
            norm in training: the batch that one device had where a paper took them by device. It
            divides the batch (each part of it, with accumulation). 0 means all examples.
        **overrides: Fields of the backbone or of the head, by name; one that both have (`dtype`)
            goes to both.

    Raises:
        UserError: If there is no such network, field or dtype, or no class.
    """
    if num_classes < 1:
        raise errors.UserError(f"num_classes is {num_classes}: a classifier needs at least one")
    family = _CLASSIFIERS.family(name)
    head = getattr(family, "Head", nn.LinearHead)
    body_fields, head_fields = fields_of(family.Backbone), fields_of(head) - {"num_classes"}
    overrides = values_of(name, overrides, body_fields | head_fields)
    values = _CLASSIFIERS.variant(name, **overrides)
    sync = sync_of(name, family.Backbone, axis_name, norm_group_size)
    of_head = known_of(values, head_fields)
    if hasattr(head, "sync"):
        # Auxiliary classifiers have batch norm too.
        of_head |= sync
    return Classifier(
        backbone=family.Backbone(**known_of(values, body_fields), **sync),
        head=head(num_classes=num_classes, **of_head),
    )


def backbone(
    name: str, *, axis_name: str | None = None, norm_group_size: int = 0, **overrides: Any
) -> linen.Module:
    """The network of that name without a head: NHWC float images -> `Features`.

    Args:
        name: In the registry.
        axis_name: As for `classifier`.
        norm_group_size: As for `classifier`.
        **overrides: Fields of the backbone, by name.

    Raises:
        UserError: If there is no such network, field or dtype.
    """
    family = _CLASSIFIERS.family(name)
    fields = fields_of(family.Backbone)
    values = _CLASSIFIERS.variant(name, **values_of(name, overrides, fields))
    sync = sync_of(name, family.Backbone, axis_name, norm_group_size)
    return family.Backbone(**known_of(values, fields), **sync)


def layers_above(path: Sequence[str], *, name: str, **overrides: Any) -> int:
    """How many layers lie between a parameter of a classifier and its output; 0 in the head.

    Args:
        path: Of the parameter, for instance `("backbone", "block3", "expand", "kernel")`.
        name: In the registry.
        **overrides: As for `classifier`.

    Raises:
        UserError: If there is no such network or field, or its family does not count layers.
    """
    family = _CLASSIFIERS.family(name)
    count = getattr(family, "layers_above", None)
    if count is None:
        raise errors.UserError(
            f"{name} is of the family {family_of(name)!r}, whose layers are not counted, so "
            f"optimizer.layer_decay must be 1 (they are in {', '.join(families('layers_above'))})"
        )
    if path[0] == "head":
        return 0
    return count(path[1], backbone(name, **known_of(overrides, fields_of(family.Backbone))))


def whitening_kernel(
    images: Float[Array, "batch height width channels"], *, name: str, **overrides: Any
) -> Float[Array, "size size channels features"]:
    """The first kernel of a network that has it from training images instead of training it.

    Args:
        images: A few thousand, as the network sees them.
        name: In the registry.
        **overrides: As for `classifier`.

    Raises:
        UserError: If the family trains its first kernel.
    """
    family = _CLASSIFIERS.family(name)
    make = getattr(family, "whitening_kernel", None)
    if make is None:
        raise errors.UserError(
            f"{name} is of the family {family_of(name)!r}, which trains its first kernel; set "
            "whitening.num_images=0 (it is set from images in "
            f"{', '.join(families('whitening_kernel'))})"
        )
    body: Any = backbone(name, **known_of(overrides, fields_of(family.Backbone)))
    return make(images, size=body.patch_size)


def segmenter(
    name: str,
    *,
    num_classes: int = 21,
    axis_name: str | None = None,
    norm_group_size: int = 0,
    **overrides: Any,
) -> heads.Segmenter:
    """The segmenter of that name: NHWC float images -> float32 logits of their pixels.

    Args:
        name: One of `segmenters()`.
        num_classes: How many logits a pixel has; the background is one of the classes.
        axis_name: As for `classifier`.
        norm_group_size: As for `classifier`.
        **overrides: Fields of the backbone or of the head, by name; one that both have (`dtype`)
            goes to both. `backbone`: the name of another backbone. `auxiliary_width`: channels of
            the auxiliary head, 0 a quarter of what it reads; None is no such head.

    Raises:
        UserError: If there is no such network, field or dtype, or no class.
    """
    if num_classes < 1:
        raise errors.UserError(f"num_classes is {num_classes}: a segmenter needs at least one")
    family = heads.family(name)
    row = {"auxiliary_width": None, **heads.REGISTRY.variant(name, **overrides)}
    body, width = row.pop("backbone"), row.pop("auxiliary_width")
    fields = fields_of(_CLASSIFIERS.family(body).Backbone), fields_of(family.Head) - {"num_classes"}
    values = values_of(name, row, fields[0] | fields[1])
    sync = {"axis_name": axis_name, "norm_group_size": norm_group_size}
    head = family.Head(
        num_classes=num_classes,
        sync=nn.Sync(axis_name, norm_group_size),
        **known_of(values, fields[1]),
    )
    auxiliary = None
    if width is not None:
        fcn = importlib.import_module("cnn.heads.fcn")
        shared = known_of(values_of(name, overrides, set(overrides)), {"dropout_rate", "dtype"})
        auxiliary = fcn.Head(num_classes, width, "previous", sync=head.sync, **shared)
    return heads.Segmenter(backbone(body, **sync, **known_of(values, fields[0])), head, auxiliary)


def detector(
    name: str,
    *,
    num_classes: int = 80,
    axis_name: str | None = None,
    norm_group_size: int = 0,
    frozen_norm: bool = False,
    **overrides: Any,
) -> linen.Module:
    """The detector of that name, a `cnn.detectors.contract.Detector`.

    Args:
        name: One of `detectors()`.
        num_classes: Kinds of objects, without a background.
        axis_name: As for `classifier`.
        norm_group_size: As for `classifier`.
        frozen_norm: Whether the backbone's batch norms stay as they are, as those of torchvision's
            detectors do where a trained backbone is loaded; without one nothing would be normal.
        **overrides: Fields of the detector or of the backbone, by name; one that both have
            (`dtype`) goes to both. `backbone`: the name of another backbone.

    Raises:
        UserError: If there is no such network, field or dtype, or no class.
    """
    if num_classes < 1:
        raise errors.UserError(f"num_classes is {num_classes}: a detector needs at least one")
    family = detection.family(name)
    row = detection.REGISTRY.variant(name, **overrides)
    body = row.pop("backbone")
    fields = (
        fields_of(_CLASSIFIERS.family(body).Backbone),
        fields_of(family.Detector) - {"num_classes", "backbone"},
    )
    values = values_of(name, row, fields[0] | fields[1])
    shared = {"axis_name": axis_name, "norm_group_size": norm_group_size}
    part = backbone(body, **shared, **known_of(values, fields[0]))
    if frozen_norm:
        if not hasattr(part, "sync"):
            raise errors.UserError(
                f"frozen_norm is set, but {body} has no batch norm; leave it out"
            )
        part = part.clone(sync=nn.Sync(frozen=True))
    return family.Detector(
        backbone=part,
        num_classes=num_classes,
        sync=nn.Sync(axis_name, norm_group_size),
        **known_of(values, fields[1]),
    )


def generator(
    name: str, *, axis_name: str | None = None, norm_group_size: int = 0, **overrides: Any
) -> generators.Networks:
    """The generator of that name, with what it is trained with.

    Args:
        name: One of `generators.names()`.
        axis_name: As for `classifier`; see `generators.Networks`.
        norm_group_size: As for `classifier`.
        **overrides: Fields of the networks, by name; one that several have goes to each.

    Raises:
        UserError: If there is no such network, field or dtype.
    """
    family = generators.family(name)
    classes = ((part, getattr(family, part.capitalize(), None)) for part in generators.PARTS)
    parts = {part: module for part, module in classes if module is not None}
    fields = {part: fields_of(module) for part, module in parts.items()}
    row = generators.REGISTRY.variant(name, **overrides)
    values = values_of(name, row, set().union(*fields.values()))
    made = {
        part: parts[part](
            **known_of(values, known), **sync_of(name, parts[part], axis_name, norm_group_size)
        )
        for part, known in fields.items()
    }
    return generators.Networks(**made, axis_name=axis_name)


def backbone_of(name: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Of a segmenter or detector: its backbone's name, and in what fields that is not registered.

    Args:
        name: One of `segmenters()` or `detectors()`.
        **fields: As for `segmenter` or `detector`.

    Raises:
        UserError: If there is no such network.
    """
    registry = (detection if name in detectors() else heads).REGISTRY
    row = registry.variant(name, **fields)
    body = row["backbone"]
    return body, known_of(row, fields_of(_CLASSIFIERS.family(body).Backbone))


def network(name: str, **fields: Any) -> linen.Module:
    """The classifier, segmenter or detector of that name, with their arguments.

    Raises:
        UserError: If there is no such network, field or dtype, or no class.
    """
    if name in detectors():
        return detector(name, **fields)
    return (segmenter if name in segmenters() else classifier)(name, **fields)


def registered(task: str | None = None) -> tuple[str, ...]:
    """The names of all networks, or of those for one of `TASKS`.

    Raises:
        UserError: If there is no such task.
    """
    if task is not None:
        return nn.choose("task", task, _BY_TASK).names()
    return tuple(name for registry in _BY_TASK.values() for name in registry.names())


def task_of(name: str) -> str:
    """What a registered network is for, one of `TASKS`.

    Raises:
        UserError: If there is no such network.
    """
    for task, registry in _BY_TASK.items():
        if name in registry.names():
            return task
    raise errors.unknown("model", name, registered())


def kind_of(name: str) -> tuple[str, dict[str, Any]]:
    """What trains a network: a name of `cnn.kinds.KINDS`, and options of its ordinary step.

    That is the network's task with the defaults; of a generator its family says it.

    Raises:
        UserError: If there is no such network.
    """
    task = task_of(name)
    family = _BY_TASK[task].family(name)
    return family.kind(name) if hasattr(family, "kind") else (task, {})


def source(name: str) -> Source:
    """Where the network of that name comes from.

    Raises:
        UserError: If there is no such network.
    """
    return _BY_TASK[task_of(name)].source(name)


def size_fields(name: str, image_size: int) -> dict[str, int]:
    """The fields that make a network be for images of that height and width in pixels.

    Most take any that they are given and have none; what makes images of latents is told.

    Raises:
        UserError: If there is no such network.
    """
    family = _BY_TASK[task_of(name)].family(name)
    known = fields_of(family.Generator) if hasattr(family, "Generator") else set()
    return known_of({"image_size": image_size}, known)


def describe(name: str) -> ModelInfo:
    """Facts of the network of that name, from the table that is kept with the code.

    Raises:
        UserError: If there is no such network.
    """
    return nn.choose("model", name, table())


def measure(name: str, *, image_size: int | None = None, **overrides: Any) -> ModelInfo:
    """Facts of the network of that name, counted on its program; nothing is computed.

    Args:
        name: Any that is registered.
        image_size: Height and width in pixels; None is the paper's.
        **overrides: As for the function that makes it; also `num_classes`, by default those of the
            paper's data.

    Raises:
        UserError: If there is no such network or field, or the images are too small for it.
    """
    facts, task = source(name), task_of(name)
    facts = facts._replace(
        image_size=image_size if image_size is not None else facts.image_size,
        num_classes=overrides.pop("num_classes", facts.num_classes),
    )
    fields = {**size_fields(name, facts.image_size), **overrides}
    if facts.num_classes:
        fields["num_classes"] = facts.num_classes
    made = generator(name, **fields) if task == "generation" else network(name, **fields)
    variables, products = count(made, facts.image_size, facts.channels)
    registry = _BY_TASK[task]
    parameters = size_of(variables["params"])
    if getattr(registry.family(name), "FROZEN_NORM", False):
        # A norm has as many statistics as it has scales and biases.
        parameters -= size_of(variables.get("batch_stats", {}).get("backbone", {}))
    return ModelInfo(
        name, registry.family_of(name), parameters, products, **facts._asdict(), task=task
    )
