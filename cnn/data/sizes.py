"""How large known data sets are, without opening them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn.data import scenes
from cnn.errors import UserError


class Size(NamedTuple):
    """Training examples and classes."""

    num_train: int
    num_classes: int


PUBLISHED = {
    "cifar10": Size(50_000, 10),
    "cifar100": Size(50_000, 100),
    "fashion_mnist": Size(60_000, 10),
    "imagenet2012": Size(1_281_167, 1000),
    "imagenette": Size(9_469, 10),
    "kmnist": Size(60_000, 10),
    "mnist": Size(60_000, 10),
    "mnist5k": Size(4_000, 10),
    "oxford_flowers102": Size(1_020, 102),
    "svhn_cropped": Size(73_257, 10),
}
"""The whole split `train` by name, of tfds or of a source; the catalogue of TensorFlow Datasets."""


def published_size(section: Mapping[str, Any]) -> Size:
    """What a section `data` of a config would open, as far as that is published.

    Raises:
        UserError: If it is not.
    """
    source, name = section["source"], section["name"].partition(":")[0].partition("/")[0]
    if source == "scenes":
        return Size(section["options"]["scenes"]["num_train"], len(scenes.CLASSES))
    if source == "synthetic":
        options = section["options"]["synthetic"]
        return Size(options["num_train"], options["num_classes"])
    known = PUBLISHED.get(name if source == "tfds" else source)
    if known is None or section["train_split"] not in ("", "train"):
        what = " ".join(filter(None, (source, section["name"], section["train_split"])))
        raise UserError(
            f"how many training images and classes there are in {what!r} is not known without "
            "opening it; say --num_train=N --num_classes=N"
        )
    return known
