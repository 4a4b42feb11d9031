"""What every data set looks like: a random-access sequence of uint8 images with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer, UInt8

IGNORED = 255
"""The class of a pixel of which nothing is known: no loss and no measurement looks at it."""

NO_OBJECT = -1
"""The class of what fills up the objects of a picture. Below it, `unmeasured(label)` is an object,
or a crowd of them, that is not learnt, and that may be found or not."""


class Example(TypedDict):
    """One picture: rows from the top, and what it shows.

    The image has 1 (gray), 3 (RGB) or any other number of channels, in [0, 255]; it may be
    read-only, so a transform makes a new array. The label is the number of a class, or an array
    (see `SourceInfo.target`). The mask has the class of each pixel, or `IGNORED`. Boxes are of
    objects, (y0, x0, y1, x1) as shares of height and width, with a class each, or `unmeasured` of
    it; a picture may have none. Proposals are boxes that may hold an object, the surest first.
    """

    image: UInt8[np.ndarray, "height width channels"]
    label: int | Float32[np.ndarray, " targets"]
    mask: NotRequired[UInt8[np.ndarray, "height width"]]
    boxes: NotRequired[Float32[np.ndarray, "boxes 4"]]
    box_labels: NotRequired[Integer[np.ndarray, " boxes"]]
    proposals: NotRequired[Float32[np.ndarray, "proposals 4"]]


class SourceInfo(NamedTuple):
    """What is known of a source without reading an image.

    Attributes:
        name: For messages and reports, for instance "mnist5k train".
        class_names: By label: `class_names[example["label"]]`; of "float", what each number is.
        target: What a label is: "class", the number of one class; "multi", an array with 1 for each
            class that the picture shows; "float", an array of numbers to predict; "mask", 0, since
            each pixel has a class: `class_names[example["mask"][row, column]]`; "boxes", 0, since
            each object has one: `class_names[example["box_labels"][i]]`; "pair",
            0, since the image is two, the second behind the first in its channels.
    """

    name: str
    class_names: tuple[str, ...]
    target: str = "class"


def unmeasured(label: int) -> int:
    """The label of an object of that class which does not count; applied twice, the class."""
    return NO_OBJECT - 1 - label


@runtime_checkable
class Source(Protocol):
    """A sequence of examples; `source[i]` is the same example whenever it is read.

    Reading is safe from several threads, and from a pickled copy in another process. An image that
    cannot be read raises `UserError`.
    """

    @property
    def info(self) -> SourceInfo:
        """Name and classes."""
        ...

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Example:
        """The example at `index`, in [0, len)."""
        ...


@runtime_checkable
class Encoded(Source, Protocol):
    """A source whose images are stored encoded: `source[i]` is `decoded(i, encoded(i))`."""

    def encoded(self, index: int, /) -> Any:
        """What is stored: bytes, or a record of them. Raises a UserError if that is unreadable."""
        ...

    def decoded(self, index: int, stored: Any, /) -> Example:
        """The example at `index` of what is stored. Raises a UserError if that is no image."""
        ...


def labels_of(source: Source) -> np.ndarray:
    """The labels of all examples: what the source knows as `labels`, else by reading each.

    Returns:
        int64 [examples], or float32 [examples, targets] where the target is no class.
    """
    known = getattr(source, "labels", None)
    if known is not None:
        return known
    return np.asarray([source[index]["label"] for index in range(len(source))])


def ids_of(source: Source) -> Sequence[str]:
    """What each picture is called in files beside the pictures: what the source knows as `ids`.

    That is COCO's id; of VOC and YOLO the path below the folder of pictures, without its ending; of
    other sources the number of the example, from 0 on.
    """
    known = getattr(source, "ids", None)
    return tuple(map(str, range(len(source)))) if known is None else known


def parts_of(source: Source) -> np.ndarray:
    """Which of the sources that were put together each example is from, int64 [examples].

    It is what the source knows as `parts`, else 0.
    """
    known = getattr(source, "parts", None)
    return np.zeros(len(source), np.int64) if known is None else known


class Derived:
    """A source over another one, whose examples keep their places; unless overridden, it is that.

    An override of `__getitem__` that changes labels, or their places, has one of `labels` beside
    it, and so on.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def info(self) -> SourceInfo:
        """That of the other source."""
        return self._source.info

    @property
    def labels(self) -> np.ndarray:
        """As `labels_of` the other source."""
        return labels_of(self._source)

    @property
    def ids(self) -> Sequence[str]:
        """As `ids_of` the other source."""
        return ids_of(self._source)

    @property
    def parts(self) -> np.ndarray:
        """As `parts_of` the other source."""
        return parts_of(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        return self._source[index]


class Sources(NamedTuple):
    """The two splits of a data set; both know the same classes."""

    train: Source
    eval: Source


class ArraySource:
    """Examples that lie in memory."""

    def __init__(
        self,
        images: UInt8[np.ndarray, "examples height width channels"],
        labels: Integer[np.ndarray, " examples"],
        info: SourceInfo,
    ) -> None:
        images = images.view()
        images.flags.writeable = False
        self._images = images
        self.labels = labels.astype(np.int64)
        self.info = info

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> Example:
        return {"image": self._images[index], "label": int(self.labels[index])}
