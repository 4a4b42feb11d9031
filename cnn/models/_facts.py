"""Facts of networks: how they are counted, and the table that is kept of them."""

import csv
import functools
import importlib.resources
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cnn import macs


class ModelInfo(NamedTuple):
    """Facts of a registered network.

    Attributes:
        name: In the registry.
        family: Name of its file in `cnn.models`, `cnn.heads`, `cnn.detectors` or `cnn.generators`.
        parameters: Trained ones for the images and classes below: of a generator alone, without
            what it is trained with; of a detector that is published with frozen batch norms in its
            backbone (`FROZEN_NORM` of the family), without theirs.
        macs: Multiply-accumulates of its convolutions and matrix products for one image; of a
            detector that reads proposals, with one of them.
        image_size: Height and width in pixels, the paper's where not said otherwise.
        channels: Of the paper's images.
        num_classes: Of the paper's data set; 0 where nothing is told apart.
        paper: Authors and title.
        year: Of the paper.
        task: What it is for, one of `models.TASKS`.
    """

    name: str
    family: str
    parameters: int
    macs: int
    image_size: int
    channels: int
    num_classes: int
    paper: str
    year: int
    task: str


def count(made: Any, image_size: int, channels: int) -> tuple[Any, int]:
    """The shapes of a network's variables, and its multiply-accumulates for one image.

    Args:
        made: A linen module, or `generators.Networks`, of which it is the generator.
        image_size: Height and width in pixels.
        channels: Of the image.

    Raises:
        UserError: If the image is too small for it.
    """
    module, latent_size = getattr(made, "generator", made), getattr(made, "latent_size", 0)
    shape = (latent_size,) if latent_size else (image_size, image_size, channels)
    given = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(lambda key, given: module.init(key, given), jax.random.key(0), given)
    return variables, macs.count(module.apply, variables, given)


def size_of(tree: Any) -> int:
    """How many numbers a tree of arrays, or of their shapes, has."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def table() -> dict[str, ModelInfo]:
    """What `cnn models --measure --csv` printed, by name."""
    text = importlib.resources.files("cnn.models").joinpath("table.csv").read_text("utf-8")
    kinds = ModelInfo.__annotations__
    rows = csv.DictReader(text.splitlines())
    read = (ModelInfo(**{key: kinds[key](value) for key, value in row.items()}) for row in rows)
    return {info.name: info for info in read}
