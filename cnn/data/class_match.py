"""A set of pictures with the classes of a network that was trained on others of them."""

from __future__ import annotations

import difflib

import numpy as np
from jaxtyping import Int64

from cnn.data.contract import Derived, Example, Source, SourceInfo, labels_of
from cnn.data.folder import one_folder
from cnn.data.tfds import imagenet_ids, one_split
from cnn.errors import UserError


class Renumbered(Derived):
    """Another source with other numbers for its classes."""

    def __init__(
        self, source: Source, numbers: Int64[np.ndarray, " classes"], class_names: tuple[str, ...]
    ) -> None:
        super().__init__(source)
        self._numbers = numbers
        self._class_names = class_names

    @property
    def info(self) -> SourceInfo:
        """That of the other source, with the new classes."""
        return SourceInfo(self._source.info.name, self._class_names)

    @property
    def labels(self) -> np.ndarray:
        """By the new numbers."""
        return self._numbers[labels_of(self._source)]

    def __getitem__(self, index: int, /) -> Example:
        example = self._source[index]
        return {**example, "label": int(self._numbers[example["label"]])}


def open_part(*, root: str, tfds: str, split: str) -> Source:
    """One set of pictures, with its own classes.

    Args:
        root: A folder of class folders; with `tfds` the place of prepared sets ("" is tfds's own).
        tfds: A prepared data set, for instance "imagenet_v2/matched-frequency"; "" reads `root`.
        split: Of the data set; "" is the first there is for evaluation.

    Raises:
        UserError: If there is no such thing.
    """
    return one_split(tfds, root, split) if tfds else one_folder(root)


def match_classes(source: Source, class_names: tuple[str, ...]) -> Source:
    """The source with the numbers that a network gives to its classes.

    They are found by name; else as numbers, "0" being the network's first; else, for a network of
    1,000 classes, by WordNet id, taking it that they are ImageNet's in ImageNet's order. The source
    may have fewer classes than the network.

    Raises:
        UserError: If a class is not among the network's.
    """
    there = source.info.class_names
    if there == class_names:
        return source
    orders = [class_names, tuple(map(str, range(len(class_names))))]
    if len(class_names) == 1000:
        orders.append(imagenet_ids())
    for order in orders:
        number = {name: label for label, name in enumerate(order)}
        # Some write numbers with leading zeros.
        names = [name if name in number else name.lstrip("0") or "0" for name in there]
        if all(name in number for name in names):
            numbers = np.asarray([number[name] for name in names], np.int64)
            return Renumbered(source, numbers, class_names)
    strangers = sorted(set(there) - set(class_names))
    near = difflib.get_close_matches(strangers[0], class_names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"{source.info.name} has {len(strangers)} classes that the network has not, the first "
        f"{strangers[0]!r}{hint} (known: {', '.join(class_names[:10])}"
        f"{', ...' if len(class_names) > 10 else ''}); name the folders as these, by number, or, "
        "for ImageNet's classes, by WordNet id"
    )
