"""Files of boxes: COCO's JSON, PASCAL VOC's XML, and the text files of YOLO.

Each reader returns a `Picture` for each image, with boxes as shares, and raises a UserError that
names the file and the line or object where something is wrong.
"""

from __future__ import annotations

import collections
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import yaml

from cnn.data.contract import unmeasured
from cnn.errors import UserError, unknown

Box = tuple[float, float, float, float]
_MOST_OUTSIDE_PX = 1.0
_MOST_OUTSIDE_SHARE = 0.01


class Object(NamedTuple):
    """A box (y0, x0, y1, x1) as shares of the picture, and a label as in `Example`."""

    box: Box
    label: int


class Picture(NamedTuple):
    """What a file says of a picture.

    Attributes:
        path: Below the folder of pictures.
        objects: May be none.
        shape: (height, width) in pixels that the boxes are of; None where they were shares.
        where: The file that says so.
        number: COCO's id; None in other formats.
    """

    path: str
    objects: tuple[Object, ...]
    shape: tuple[int, int] | None
    where: str
    number: int | None = None


class Faulty:
    """What happens to a box that is none: an error, or it is dropped and counted."""

    def __init__(self, *, drop: bool) -> None:
        self._drop = drop
        self.dropped = 0

    def checked(self, box: Box, shape: tuple[int, int] | None, where: str) -> Box | None:
        """The box as shares and cut at the edges, or None where it is dropped.

        A box may lie outside by a pixel, of shares by 1 %, as rounding leaves it.

        Args:
            box: In pixels, or as shares where there is no shape.
            shape: Of the picture.
            where: File and object, for the error.
        """
        height, width = shape or (1, 1)
        most = _MOST_OUTSIDE_PX if shape else _MOST_OUTSIDE_SHARE
        limits = (height, width, height, width)
        fault = None
        if not all(map(math.isfinite, box)):
            fault = "is not finite"
        elif box[2] <= box[0] or box[3] <= box[1]:
            fault = "has no area"
        elif min(box) < -most or any(s > e + most for s, e in zip(box, limits, strict=True)):
            fault = (
                f"lies outside of the picture ({height} x {width} pixels)"
                if shape
                else ("lies outside of the picture (shares from 0 to 1)")
            )
        cut = tuple(min(max(s / e, 0.0), 1.0) for s, e in zip(box, limits, strict=True))
        if fault is None and (cut[2] <= cut[0] or cut[3] <= cut[1]):
            fault = "lies outside of the picture"
        if fault is None:
            return cut[0], cut[1], cut[2], cut[3]
        if not self._drop:
            shown = ", ".join(f"{side:g}" for side in box)
            raise UserError(
                f"{where}: the box (y0, x0, y1, x1) = ({shown}) {fault}; correct it, or drop such "
                "boxes (data.options.boxes.faulty='drop')"
            )
        self.dropped += 1
        return None


def read_coco(path: pathlib.Path, faulty: Faulty) -> tuple[list[Picture], tuple[str, ...]]:
    """The pictures of a file of COCO's format, and the classes in the order of their ids.

    Objects with `iscrowd` are crowds, which are not learnt and not counted.

    Raises:
        UserError: If something is wrong with the file.
    """
    content = _json(path)
    categories = {
        _field(one, "id", int, f"{path}: category {i}"): _field(
            one, "name", str, f"{path}: category {i}"
        )
        for i, one in enumerate(_field(content, "categories", list, str(path)))
    }
    labels = {number: label for label, number in enumerate(sorted(categories))}
    objects = collections.defaultdict(list)
    images = {}
    for index, image in enumerate(_field(content, "images", list, str(path))):
        where = f"{path}: image {index}"
        shape = (_field(image, "height", int, where), _field(image, "width", int, where))
        if min(shape) < 1:
            raise UserError(f"{where} has a size of {shape[0]} x {shape[1]} pixels")
        images[_field(image, "id", int, where)] = (_field(image, "file_name", str, where), shape)
    for index, one in enumerate(_field(content, "annotations", list, str(path))):
        where = f"{path}: annotation {index} (id {one.get('id') if isinstance(one, dict) else ''})"
        image, category = (_field(one, key, int, where) for key in ("image_id", "category_id"))
        if image not in images:
            raise UserError(f"{where} is of image {image}, which is not among the images")
        if category not in labels:
            known = ", ".join(map(str, sorted(labels)[:10]))
            raise UserError(f"{where} is of category {category}, which is none (known: {known})")
        x, y, width, height = _numbers(_field(one, "bbox", list, where), 4, where)
        box = faulty.checked((y, x, y + height, x + width), images[image][1], where)
        if box is not None:
            label = labels[category]
            objects[image].append(Object(box, unmeasured(label) if one.get("iscrowd") else label))
    pictures = [
        Picture(name, tuple(objects[number]), shape, str(path), number)
        for number, (name, shape) in images.items()
    ]
    return pictures, tuple(categories[number] for number in sorted(categories))


def read_voc(
    path: pathlib.Path, names: Sequence[str], faulty: Faulty
) -> tuple[tuple[Object, ...], tuple[int, int]]:
    """The objects of a VOC file and the size of its picture; `difficult` ones do not count.

    VOC's pixels are numbered from 1, and those of both ends belong to the box.

    Raises:
        UserError: If something is wrong with the file.
    """
    root = _xml(path)
    shape = tuple(_of_xml(root, f"size/{side}", str(path)) for side in ("height", "width"))
    if min(shape) < 1:
        raise UserError(f"{path}: the picture's size is {shape[0]:g} x {shape[1]:g} pixels")
    height, width = map(int, shape)
    found = []
    for index, one in enumerate(root.findall("object")):
        name = (one.findtext("name") or "").strip()
        where = f"{path}: object {index} ({name})"
        if name not in names:
            raise unknown(f"class in {where}", name, names)
        x0, y0, x1, y1 = (
            _of_xml(one, f"bndbox/{side}", where) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        box = faulty.checked((y0 - 1, x0 - 1, y1, x1), (height, width), where)
        if box is not None:
            label = names.index(name)
            difficult = (one.findtext("difficult") or "0").strip() == "1"
            found.append(Object(box, unmeasured(label) if difficult else label))
    return tuple(found), (height, width)


def voc_classes(paths: Iterable[pathlib.Path]) -> tuple[str, ...]:
    """The names of all objects, sorted.

    Raises:
        UserError: If a file cannot be read.
    """
    names = {
        (one.findtext("name") or "").strip() for path in paths for one in _xml(path).iter("object")
    }
    return tuple(sorted(names - {""}))


def read_yolo(path: pathlib.Path, names: Sequence[str], faulty: Faulty) -> tuple[Object, ...]:
    """The objects of a text file, one a line: class, middle (x, y), width and height as shares.

    Raises:
        UserError: If something is wrong with the file.
    """
    found = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words, where = line.split(), f"{path}, line {number}"
        if not words:
            continue
        if len(words) != 5:
            raise UserError(
                f"{where}: a box has 5 numbers (class, x, y, width, height), got {len(words)}"
            )
        label, x, y, width, height = _numbers(words, 5, where)
        if label not in range(len(names)):
            raise UserError(
                f"{where}: there is no class {words[0]}; the {len(names)} classes are numbered "
                f"from 0 to {len(names) - 1}"
            )
        sides = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        box = faulty.checked(sides, None, where)
        if box is not None:
            found.append(Object(box, int(label)))
    return tuple(found)


def yolo_classes(root: pathlib.Path) -> tuple[str, ...]:
    """The names in `data.yaml` (a list, or a table by number) or in `classes.txt`, one a line.

    Raises:
        UserError: If there is neither, or no names in it.
    """
    path = root / "data.yaml"
    if path.is_file():
        try:
            names = (yaml.safe_load(_text(path)) or {})["names"]
            ordered = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
            if isinstance(names, dict) and sorted(names) != list(range(len(names))):
                raise KeyError("numbers from 0 on")
            found = tuple(map(str, ordered))
        except (yaml.YAMLError, KeyError, TypeError) as error:
            text = " ".join(str(error).split())
            raise UserError(f"{path} has no list of names ({text})") from error
    elif (root / "classes.txt").is_file():
        found = tuple(filter(None, map(str.strip, _text(root / "classes.txt").splitlines())))
    else:
        raise UserError(
            f"no data.yaml and no classes.txt in {str(root)!r}: one of them names the classes (or "
            "data.options.boxes.class_names)"
        )
    if not found:
        raise UserError(f"{root} names no classes (data.yaml or classes.txt)")
    return found


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: no JSON, or cut short ({error.msg})"
        ) from error


def _xml(path: pathlib.Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(_text(path))
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: no XML, or cut short ({error})") from error


def _field(values: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(values, Mapping) or key not in values:
        raise UserError(f"{where} has no {key!r}")
    if not isinstance(values[key], kind) or isinstance(values[key], bool):
        raise UserError(f"{where}: {key!r} is no {kind.__name__}: {values[key]!r}"[:300])
    return values[key]


def _of_xml(node: ElementTree.Element, path: str, where: str) -> float:
    return _numbers([node.findtext(path)], 1, f"{where}: {path}")[0]


def _numbers(values: Sequence[Any], count: int, where: str) -> list[float]:
    if len(values) != count:
        raise UserError(f"{where} has {len(values)} numbers for a box, which takes {count}")
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {values!r} are no numbers"[:300]) from error
