"""Your own pictures with a class for each pixel: a folder of images and one of masks."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cnn.data.contract import IGNORED, Example, SourceInfo, Sources
from cnn.data.decode import read_file, read_image
from cnn.data.folder import EVAL_FOLDERS, EXTENSIONS
from cnn.errors import UserError

_CLASSES = "classes.txt"
_MODES = ("P", "L", "1")


class MasksSource:
    """Image files with mask files, decoded when they are read."""

    def __init__(
        self, pairs: Sequence[tuple[pathlib.Path, pathlib.Path]], info: SourceInfo
    ) -> None:
        self._pairs = tuple(pairs)
        self.labels = np.zeros(len(self._pairs), np.int64)
        self.info = info

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int, /) -> Example:
        return self.decoded(index, self.encoded(index))

    def encoded(self, index: int, /) -> tuple[bytes, bytes]:
        """As `cnn.data.contract.Encoded`."""
        image, mask = self._pairs[index]
        return read_file(image), read_file(mask)

    def decoded(self, index: int, stored: tuple[bytes, bytes], /) -> Example:
        """As `cnn.data.contract.Encoded`."""
        image_path, mask_path = self._pairs[index]
        image = read_image(stored[0], name=str(image_path))
        mask = read_mask(stored[1], name=str(mask_path))
        if mask.shape != image.shape[:2]:
            sizes = ("x".join(map(str, shape)) for shape in (mask.shape, image.shape[:2]))
            raise UserError(
                f"the mask {mask_path} has {' pixels, and its image '.join(sizes)}; both must have "
                "one size (and the image no EXIF turn)"
            )
        known = len(self.info.class_names)
        strange = mask[(mask >= known) & (mask != IGNORED)]
        if strange.size:
            raise UserError(
                f"the mask {mask_path} has pixels of class {int(strange.max())}, but there are "
                f"{known} classes, 0 to {known - 1} ({IGNORED} is ignored); name all in {_CLASSES}"
            )
        return {"image": image, "label": 0, "mask": mask}


def read_mask(data: bytes, *, name: str) -> UInt8[np.ndarray, "height width"]:
    """The classes of a mask's pixels: the places in its palette, or its gray levels.

    Args:
        data: A PNG, or another format without loss.
        name: What an error calls it.

    Raises:
        UserError: If it is no image, or one of colours.
    """
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.mode in _MODES:
                return np.array(file).astype(np.uint8)
            mode = file.mode
    # As `read_image`: readers of corrupt files raise whatever they stumble on.
    except Exception as error:
        reason = "not an image, or cut" if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot read the mask {name}: {reason}") from error
    raise UserError(
        f"the mask {name} has pixels of mode {mode}; a mask is a PNG with a palette or 8-bit gray, "
        "whose pixels are the numbers of classes"
    )


def masks(
    root: str | os.PathLike[str],
    train_split: str,
    eval_split: str,
    eval_fraction: float,
    *,
    images: str = "images",
    masks: str = "masks",
    class_names: tuple[str, ...] = (),
) -> Sources:
    """The training and evaluation part of a folder of images and one of masks.

    The mask of `images/a/b.jpg` is `masks/a/b.png`. Its pixels are numbers of classes: 0 is
    the first name, usually the background, and 255 is ignored.

    Args:
        root: Holds both folders.
        train_split: A folder inside both, or a text file inside `root` with a path a line, as
            `ImageSets/Segmentation/train.txt` of VOC; "" is `train` where there is one.
        eval_split: As `train_split`; "" is the first there is of `EVAL_FOLDERS`.
        eval_fraction: Without an evaluation part, the share that is held out, in (0, 1): the files
            whose paths hash lowest, at least one.
        images: The folder of images: `JPEGImages` in VOC.
        masks: The folder of masks: `SegmentationClass` in VOC.
        class_names: By number; () reads them from `classes.txt` in `root`, one a line.

    Raises:
        UserError: If something is missing, among it the mask of an image; from the sources: if a
            file cannot be read, a mask has another size than its image, or a class has no name.
    """
    base = pathlib.Path(root).expanduser()
    if not str(root):
        raise UserError('data.source="masks" needs data.root, the folder of images and masks')
    for name in (images, masks):
        if not (base / name).is_dir():
            raise UserError(f"no folder {name!r} in {str(base)!r} (data.options.masks)")
    names = tuple(class_names) or _class_names(base)
    train = train_split or _folder(base / images, ("train",))
    held_out = eval_split or _folder(base / images, EVAL_FOLDERS)
    chosen = _images(base, images, train)
    if held_out:
        kept = _images(base, images, held_out)
    else:
        chosen, kept = _hold_out(chosen, base, eval_fraction)

    def source(part: str, files: Sequence[pathlib.Path]) -> MasksSource:
        pairs = _pairs(base, images, masks, files)
        return MasksSource(pairs, SourceInfo(f"{base} {part}", names, "mask"))

    return Sources(source("train", chosen), source("eval", kept))


def _class_names(base: pathlib.Path) -> tuple[str, ...]:
    path = base / _CLASSES
    if not path.is_file():
        raise UserError(
            f"no {_CLASSES} in {str(base)!r}: it takes the names of the classes, one a line from "
            "class 0 on (or data.options.masks.class_names)"
        )
    names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    if not 2 <= len(names) <= IGNORED:
        raise UserError(f"{path} has {len(names)} names; it takes 2 to {IGNORED} classes")
    return names


def _folder(images: pathlib.Path, names: Sequence[str]) -> str:
    return next((name for name in names if (images / name).is_dir()), "")


def _images(base: pathlib.Path, images: str, split: str) -> list[pathlib.Path]:
    """The image files of a split, sorted; of a list in its order."""
    folder = base / images
    if split.endswith(".txt"):
        if not (base / split).is_file():
            raise UserError(f"no file {split!r} in {str(base)!r}")
        wanted = [name.strip() for name in (base / split).read_text("utf-8").splitlines()]
        known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in _all(folder)}
        for name in filter(None, wanted):
            if name not in known:
                raise UserError(f"{split} names {name!r}, which is no image in {str(folder)!r}")
        found = [known[name] for name in wanted if name]
    else:
        if not (folder / split).is_dir():
            raise UserError(f"no folder {split!r} in {str(folder)!r}")
        found = _all(folder / split)
    if not found:
        raise UserError(f"no images in {str(folder / split)!r}")
    return found


def _all(folder: pathlib.Path) -> list[pathlib.Path]:
    paths = (path for path in folder.rglob("*") if not path.name.startswith("."))
    return sorted(path for path in paths if path.suffix.lower() in EXTENSIONS)


def _hold_out(
    files: list[pathlib.Path], base: pathlib.Path, fraction: float
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    if not 0 < fraction < 1:
        raise UserError(f"data.eval_fraction must be above 0 and below 1, got {fraction}")
    if len(files) < 2:
        raise UserError(f"{str(base)!r} has 1 image, too few to hold one out")

    def rank(path: pathlib.Path) -> bytes:
        return hashlib.sha256(os.fsencode(path.relative_to(base).as_posix())).digest()

    count = min(max(round(len(files) * fraction), 1), len(files) - 1)
    held_out = set(sorted(files, key=rank)[:count])
    return [path for path in files if path not in held_out], sorted(held_out)


def _pairs(
    base: pathlib.Path, images: str, masks: str, files: Sequence[pathlib.Path]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    pairs = [
        (path, (base / masks / path.relative_to(base / images)).with_suffix(".png"))
        for path in files
    ]
    lacking = [image for image, mask in pairs if not mask.is_file()]
    if lacking:
        raise UserError(
            f"{len(lacking):,} of {len(pairs):,} images have no mask, first {lacking[0]}: there is "
            f"no {(base / masks / lacking[0].relative_to(base / images)).with_suffix('.png')}"
        )
    return pairs
