"""Prepared TensorFlow Datasets, read as files of array_record without importing TensorFlow."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn.data.contract import Example, SourceInfo, Sources
from cnn.data.decode import read_image
from cnn.errors import UserError

EVAL_SPLITS = ("validation", "val", "valid", "test")


class TfdsSource:
    """A split of a prepared data set; images are stored encoded and decoded when they are read."""

    def __init__(
        self, records: Sequence[Any], keys: tuple[str, str], channels: int, info: SourceInfo
    ) -> None:
        self._records = records
        self._image, self._label = keys
        self._channels = channels
        self.info = info

    @property
    def labels(self) -> np.ndarray:
        """Of all examples, read from the records; no image is decoded."""
        return np.asarray([record[self._label] for record in self._records], np.int64)

    @property
    def file_names(self) -> tuple[str, ...]:
        """Of all examples. Raises a UserError where the records have none."""
        try:
            names = [record["file_name"] for record in self._records]
        except KeyError as error:
            raise UserError(f"the records of {self.info.name} have no file_name") from error
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> dict[str, Any]:
        """As `cnn.data.contract.Encoded`."""
        return self._records[index]

    def decoded(self, index: int, record: dict[str, Any], /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        name, label = f"{self.info.name}, example {index}", int(record[self._label])
        if not 0 <= label < len(self.info.class_names):
            raise UserError(
                f"{name} has the label {label}, so this split has no labels; use another"
            )
        return {
            "image": read_image(record[self._image], channels=self._channels, name=name),
            "label": label,
        }


def tfds(name: str, data_dir: str | os.PathLike[str], train_split: str, eval_split: str) -> Sources:
    """The training and evaluation split of a prepared data set for classification.

    Args:
        name: As tfds writes it: "mnist", "imagenette/320px-v2", "imagenet2012:5.1.0".
        data_dir: Where data sets were prepared; "" is tfds's default (TFDS_DATA_DIR, or
            ~/tensorflow_datasets).
        train_split: Such as "train[:90%]" or "train+validation"; "" is "train".
        eval_split: As `train_split`; "" is the first there is of `EVAL_SPLITS`.

    Raises:
        UserError: If the data set is not prepared, is stored in a format without random access, has
            no such split, or no image with a class; from the sources: if an image cannot be read or
            has no label.
    """
    builder = _open(name, data_dir)
    keys = _keys(builder)
    train_split = train_split or "train"
    if not eval_split:
        known = [split for split in EVAL_SPLITS if split in builder.info.splits]
        if not known:
            raise UserError(
                f"{name} has no evaluation split (known: {', '.join(builder.info.splits)}); set "
                "data.train_split='train[:90%]' and data.eval_split='train[90%:]'"
            )
        eval_split = known[0]
    return Sources(_source(builder, keys, train_split), _source(builder, keys, eval_split))


def one_split(name: str, data_dir: str | os.PathLike[str], split: str) -> TfdsSource:
    """A single split, as `tfds` reads it; "" is the first there is of `EVAL_SPLITS`.

    Raises:
        UserError: As `tfds`.
    """
    builder = _open(name, data_dir)
    known = [there for there in (*EVAL_SPLITS, "train") if there in builder.info.splits]
    return _source(builder, _keys(builder), split or known[0])


def imagenet_ids() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet in the order of its classes, as the package ships them."""
    package = importlib.resources.files("tensorflow_datasets")
    return tuple((package / "datasets/imagenet2012/labels.txt").read_text("utf-8").split())


def _open(name: str, data_dir: str | os.PathLike[str]) -> Any:
    from tensorflow_datasets.core import read_only_builder, registered

    if not name:
        raise UserError('data.source="tfds" needs data.name, for instance "mnist"')
    where = f" --data_dir={os.fspath(data_dir)}" if data_dir else ""
    try:
        # From the files alone: `tfds.builder` would import the code that makes the data set.
        builder = read_only_builder.builder_from_files(
            name, data_dir=os.path.expanduser(data_dir) if data_dir else None
        )
    except registered.DatasetNotFoundError as error:
        looked_in = os.fspath(data_dir) or "tfds's default folder"
        raise UserError(
            f"the data set {name!r} is not prepared in {looked_in}; run: cnn prepare {name}{where}"
        ) from error
    except ValueError as error:
        raise UserError(
            f"cannot open the data set {name!r}: {str(error).splitlines()[0]}"
        ) from error
    stored = builder.info.available_file_formats()
    if not any(str(form.value) == "array_record" for form in stored):
        raise UserError(
            f"{name} is stored as {', '.join(sorted(form.value for form in stored))} in "
            f"{os.fspath(builder.data_path)}, which has no random access; prepare it as "
            f"array_record in another folder: cnn prepare {name} --data_dir=DIR"
        )
    return builder


def _keys(builder: Any) -> tuple[str, str]:
    """The names of the features that are the image and its class."""
    from tensorflow_datasets import features

    known = builder.info.features
    keys = builder.info.supervised_keys or ("image", "label")
    kinds = (features.Image, features.ClassLabel)
    if len(keys) != 2 or not all(
        key in known and isinstance(known[key], kind) for key, kind in zip(keys, kinds, strict=True)
    ):
        have = ", ".join(f"{key}: {type(known[key]).__name__}" for key in known)
        raise UserError(
            f"{builder.info.full_name} is no classification of images: it needs an Image and a "
            f"ClassLabel (known: {have})"
        )
    return keys


def _source(builder: Any, keys: tuple[str, str], split: str) -> TfdsSource:
    from tensorflow_datasets import decode, features

    known = builder.info.features
    # Masks and the like too: what is not asked for need not be decoded.
    skip = {key: decode.SkipDecoding() for key in known if isinstance(known[key], features.Image)}
    try:
        records = builder.as_data_source(split, decoders=skip)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"no split {split!r} in {builder.info.full_name}: {reason}") from error
    channels = 1 if known[keys[0]].shape[-1] == 1 else 3
    info = SourceInfo(f"{builder.info.full_name} {split}", tuple(known[keys[1]].names))
    return TfdsSource(records, keys, channels, info)
