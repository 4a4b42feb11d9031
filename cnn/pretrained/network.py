"""Weights that were opened, as the variables of a network that is known by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen

from cnn import models, pretrained
from cnn.errors import UserError, unknown
from cnn.pretrained import layout as layouts
from cnn.pretrained.facts import IMAGENET_MEAN, IMAGENET_STD, Facts, Preprocessing
from cnn.pretrained.files import Tensor, Weights
from cnn.pretrained.layout import Path

OURS = "cnn"
"""The layout whose names are our paths, `params/backbone/stem_conv/kernel`."""

STEM = ("params", "backbone", "stem_conv", "kernel")
"""The kernel that sees the images, in every family: height, width, channels, features."""


class Network(NamedTuple):
    """A classifier, segmenter or detector with its weights.

    Attributes:
        name: In the registry.
        fields: In which it differs from the registered one.
        variables: Of the network, as NumPy arrays.
        layout: Whose names the tensors had: `cnn`, `torchvision` or `timm`.
        num_classes: Of the weights.
        channels: Of the images that the weights are for.
    """

    name: str
    fields: dict[str, Any]
    variables: dict[str, Any]
    layout: str
    num_classes: int
    channels: int

    def model(self) -> linen.Module:
        """The linen module."""
        return models.network(self.name, num_classes=self.num_classes, **self.fields)


def is_ours(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are our paths."""
    return any(name.startswith("params/") for name in tensors)


def name_of(weights: Weights, name: str, where: str) -> str:
    """The network's name: `name`, or where that is empty what the weights say.

    Raises:
        UserError: If neither says it, or it is not in the registry.
    """
    known = (*models.names(), *models.segmenters(), *models.detectors())
    if name and name not in known:
        raise unknown("model", name, known)
    if name or weights.facts.model in known:
        return name or weights.facts.model
    said = f" (it says {weights.facts.model!r})" if weights.facts.model else ""
    raise UserError(
        f"{where} does not say which network of ours it is for{said}; give --model=NAME"
    )


def fields_of(facts: Facts, name: str) -> dict[str, Any]:
    """The fields in which the weights' network differs from the registered one of that name."""
    return dict(facts.fields) if facts.model == name else {}


def variables_of(
    weights: Weights,
    name: str,
    may_lack: Callable[[Path], bool] = lambda path: False,
    **fields: Any,
) -> dict[str, Any]:
    """The variables in opened weights, whole and of the right shapes.

    Args:
        weights: By torch's names or our paths.
        name: In the registry.
        may_lack: Whether an array, by path, may be missing.
        **fields: In which the network differs from the registered one.

    Raises:
        UserError: If a tensor is missing, left over or of another shape; names the first such.
    """
    if not is_ours(weights.tensors):
        return pretrained.from_torch_partly(name, weights.tensors, may_lack, **fields)
    variables = layouts.nested({tuple(key.split("/")): x for key, x in weights.tensors.items()})
    facts = weights.facts.preprocess
    size = None if facts is None else (facts.image_size, facts.image_size)
    pretrained.check(name, variables, image_size=size, may_lack=may_lack, **fields)
    return variables


def load(weights: Weights, name: str, **fields: Any) -> Network:
    """The network that weights are for.

    Raises:
        UserError: If the weights are not of the network of that name; names the first tensor that
            shows it.
    """
    fields = {**fields_of(weights.facts, name), **fields}
    layout = OURS
    if not is_ours(weights.tensors):
        layout = pretrained.layout_like(name, weights.tensors, **fields)
    variables = variables_of(weights, name, **fields)
    arrays, source = layouts.paths_of(variables), models.source(name)
    stem = arrays.get(STEM, np.zeros((1, 1, source.channels, 1)))
    num_classes = pretrained.num_classes_of(name, arrays)
    return Network(name, fields, variables, layout, num_classes, stem.shape[2])


def default_preprocessing(name: str, channels: int) -> Preprocessing:
    """What ImageNet's networks expect, where weights do not say what theirs do.

    Segmenters and detectors see the whole picture.
    """
    if name in (*models.segmenters(), *models.detectors()):
        size = models.source(name).image_size
        return Preprocessing(size, crop_fraction=1.0, resize="letterbox")
    if channels == 3:
        return Preprocessing(models.source(name).image_size)
    mean, std = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    return Preprocessing(models.source(name).image_size, (mean,), (std,))
