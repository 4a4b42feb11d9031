"""Your own pictures with boxes of objects: COCO's, PASCAL VOC's or YOLO's folders."""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnn.data.annotations import (
    Faulty,
    Picture,
    read_coco,
    read_voc,
    read_yolo,
    voc_classes,
    yolo_classes,
)
from cnn.data.contract import Example, SourceInfo, Sources
from cnn.data.decode import read_file, read_image
from cnn.data.folder import EVAL_FOLDERS, EXTENSIONS
from cnn.errors import UserError, unknown

_FAULTY = ("error", "drop")
_LOG = logging.getLogger(__name__)


class _Layout(NamedTuple):
    """Where things are.

    Attributes:
        root: Of all.
        images: The folder of pictures inside it, or "".
        annotations: That of annotations inside it.
        class_names: Given by the user, or ().
        faulty: What happens to boxes that are none.
    """

    root: pathlib.Path
    images: str
    annotations: str
    class_names: tuple[str, ...]
    faulty: Faulty


class BoxesSource:
    """Image files with boxes, decoded when they are read."""

    def __init__(self, pictures: Sequence[Picture], folder: pathlib.Path, info: SourceInfo) -> None:
        self._pictures = tuple(pictures)
        self._folder = folder
        self.labels = np.zeros(len(self._pictures), np.int64)
        self.ids = tuple(map(_id_of, self._pictures))
        self.info = info

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> bytes:
        """As `cnn.data.contract.Encoded`."""
        return read_file(self._folder / self._pictures[index].path)

    def decoded(self, index: int, stored: bytes, /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        picture = self._pictures[index]
        path = self._folder / picture.path
        image = read_image(stored, name=str(path))
        if picture.shape is not None and picture.shape != image.shape[:2]:
            sizes = ("x".join(map(str, shape)) for shape in (picture.shape, image.shape[:2]))
            raise UserError(
                f"the boxes in {picture.where} are of {' pixels, and the image has '.join(sizes)}: "
                f"{path}; both must have one size (and the image no EXIF turn)"
            )
        boxes = np.array([one.box for one in picture.objects], np.float32).reshape(-1, 4)
        labels = np.array([one.label for one in picture.objects], np.int64)
        return {"image": image, "label": 0, "boxes": boxes, "box_labels": labels}


def boxes(
    root: str | os.PathLike[str],
    train_split: str,
    eval_split: str,
    *,
    format: str = "coco",
    images: str = "",
    annotations: str = "",
    class_names: tuple[str, ...] = (),
    faulty: str = "error",
) -> Sources:
    """The training and evaluation part of pictures with boxes.

    A picture without objects is legal. All annotations are read and checked at the start.

    Args:
        root: The folder of all.
        train_split: "coco": a JSON file inside `root`; "" is the only one with "train" in its name,
            in `root` or `annotations`. "voc": a list of names; "" is `ImageSets/Main/train.txt`.
            "yolo": a folder inside `images` and `labels`; "" is `train`.
        eval_split: As `train_split`; "" is the JSON with "val", `val.txt`, or the first there is of
            `EVAL_FOLDERS`.
        format: "coco"; "voc", an XML file for each picture; or "yolo", a text file for each
            picture with objects, a line "class x y width height" for each.
        images: The folder of pictures; "" is `JPEGImages` of VOC, `images` of YOLO, and of COCO the
            split's, as `train2017` of `instances_train2017.json`, also inside `images`.
        annotations: The folder of VOC's XML, "" being `Annotations`, or of YOLO's texts, "" being
            `labels`.
        class_names: In order; () takes COCO's categories by their ids, the names in VOC's files in
            alphabetical order, and those of YOLO's `data.yaml` or `classes.txt`.
        faulty: What happens to a box without area or outside its picture: "error", or "drop" it.

    Raises:
        UserError: If something is missing or wrong; from the sources: if a picture cannot be read,
            or has another size than its annotation says.
    """
    base = pathlib.Path(root).expanduser()
    if not str(root):
        raise UserError('data.source="boxes" needs data.root, the folder of pictures with boxes')
    if not base.is_dir():
        raise UserError(f"no folder {str(base)!r} (data.root)")
    if format not in _FORMATS:
        raise unknown("data.options.boxes.format", format, _FORMATS)
    if faulty not in _FAULTY:
        raise unknown("data.options.boxes.faulty", faulty, _FAULTY)
    layout = _Layout(base, images, annotations, tuple(class_names), Faulty(drop=faulty == "drop"))
    train, held_out = _FORMATS[format](layout, train_split, eval_split)
    if layout.faulty.dropped:
        _LOG.warning("%d boxes of %s are dropped: they are none", layout.faulty.dropped, base)
    if train.info.class_names != held_out.info.class_names:
        raise UserError(
            f"the classes of {train.info.name} and {held_out.info.name} differ: "
            f"{', '.join(train.info.class_names[:5])}, ... and "
            f"{', '.join(held_out.info.class_names[:5])}, ..."
        )
    for source in (train, held_out):
        if not len(source):
            raise UserError(f"{source.info.name} has no pictures")
    return Sources(train, held_out)


def _source(
    layout: _Layout,
    split: str,
    pictures: Sequence[Picture],
    folder: pathlib.Path,
    names: tuple[str, ...],
) -> BoxesSource:
    lacking = [one for one in pictures if not (folder / one.path).is_file()]
    if lacking:
        raise UserError(
            f"{len(lacking):,} of {len(pictures):,} pictures of {split} are missing, first "
            f"{folder / lacking[0].path}"
        )
    return BoxesSource(pictures, folder, SourceInfo(f"{layout.root} {split}", names, "boxes"))


def _coco(layout: _Layout, train_split: str, eval_split: str) -> tuple[BoxesSource, BoxesSource]:
    def opened(split: str, word: str) -> BoxesSource:
        path = layout.root / (split or _only_json(layout.root, word))
        pictures, names = read_coco(path, layout.faulty)
        if layout.class_names and layout.class_names != names:
            raise UserError(
                f"data.options.boxes.class_names are not the categories of {path}: "
                f"{', '.join(names[:5])}, ..."
            )
        own = path.stem.removeprefix("instances_")
        folders = [layout.images] if layout.images else [own, f"images/{own}", "images", "."]
        first = pictures[0].path if pictures else ""
        chosen = next((one for one in folders if (layout.root / one / first).is_file()), folders[0])
        return _source(layout, path.name, pictures, layout.root / chosen, names)

    return opened(train_split, "train"), opened(eval_split, "val")


def _only_json(root: pathlib.Path, word: str) -> str:
    found = sorted((*root.glob(f"*{word}*.json"), *root.glob(f"annotations/*{word}*.json")))
    # COCO has captions and key points in the same folder.
    found = [one for one in found if one.name.startswith("instances_")] or found
    if len(found) != 1:
        raise UserError(
            f"{len(found)} JSON files with {word!r} in their names in {str(root)!r} or its "
            "annotations; name one (data.train_split, data.eval_split)"
        )
    return str(found[0].relative_to(root))


def _voc(layout: _Layout, train_split: str, eval_split: str) -> tuple[BoxesSource, BoxesSource]:
    folder = layout.root / (layout.images or "JPEGImages")
    texts = layout.root / (layout.annotations or "Annotations")
    lists = [train_split or "ImageSets/Main/train.txt", eval_split or "ImageSets/Main/val.txt"]
    stems = [_listed(layout.root / one) for one in lists]
    every = [texts / f"{stem}.xml" for part in stems for stem in part]
    names = layout.class_names or voc_classes(every)
    files = {path.stem: path.name for path in _images(folder)}

    def opened(split: str, part: Sequence[str]) -> BoxesSource:
        pictures = []
        for stem in part:
            path = texts / f"{stem}.xml"
            objects, shape = read_voc(path, names, layout.faulty)
            pictures.append(Picture(files.get(stem, f"{stem}.jpg"), objects, shape, str(path)))
        return _source(layout, split, pictures, folder, names)

    train, held_out = (opened(*pair) for pair in zip(lists, stems, strict=True))
    return train, held_out


def _id_of(picture: Picture) -> str:
    """See `cnn.data.contract.ids_of`."""
    if picture.number is not None:
        return str(picture.number)
    return pathlib.PurePosixPath(picture.path).with_suffix("").as_posix()


def _listed(path: pathlib.Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    # The lists of a class have a second column, which says whether it is there.
    return [line.split()[0] for line in lines if line.strip()]


def _yolo(layout: _Layout, train_split: str, eval_split: str) -> tuple[BoxesSource, BoxesSource]:
    folder = layout.root / (layout.images or "images")
    texts = layout.root / (layout.annotations or "labels")
    names = layout.class_names or yolo_classes(layout.root)
    known = (name for name in EVAL_FOLDERS if (folder / name).is_dir())
    splits = (train_split or "train", eval_split or next(known, EVAL_FOLDERS[0]))

    def opened(split: str) -> BoxesSource:
        if not (folder / split).is_dir():
            raise UserError(f"no folder {split!r} in {str(folder)!r}")
        pictures = []
        for path in _images(folder / split):
            relative = path.relative_to(folder)
            text = (texts / relative).with_suffix(".txt")
            # No file means no objects.
            objects = read_yolo(text, names, layout.faulty) if text.is_file() else ()
            pictures.append(Picture(relative.as_posix(), objects, None, str(text)))
        return _source(layout, split, pictures, folder, names)

    return opened(splits[0]), opened(splits[1])


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {str(folder)!r} (data.options.boxes.images)")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


_FORMATS: dict[str, Callable[[_Layout, str, str], tuple[BoxesSource, BoxesSource]]] = {
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
}
