"""Fashion-MNIST: 70,000 gray pictures of clothes, 28 x 28 (Xiao et al. 2017, "Fashion-MNIST")."""

from __future__ import annotations

import os
import pathlib

from cnn.data.arrays import idx
from cnn.data.contract import Sources
from cnn.errors import UserError

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PACKAGE = "dataset-fashion-mnist"
DPKG = pathlib.Path("/var/lib/dpkg/info")


def fashion_mnist(root: str | os.PathLike[str] = "") -> Sources:
    """The training and the test part, with the names of the classes.

    Args:
        root: The folder of the IDX files, with or without `.gz`. "" is where Debian's package
            `dataset-fashion-mnist` put them, by the list of its files that dpkg keeps.

    Raises:
        UserError: If they are not there, damaged, or of another data set.
    """
    return idx(root if str(root) else _packaged(), class_names=CLASS_NAMES)


def _packaged() -> pathlib.Path:
    """The folder into which Debian's package put the files."""
    try:
        names = (DPKG / f"{PACKAGE}.list").read_text(encoding="utf-8").splitlines()
    except OSError:
        names = []
    for name in names:
        path = pathlib.PurePosixPath(name)
        if path.name.startswith("train-images") and (DPKG / name).is_file():
            return pathlib.Path(path.parent)
    raise UserError(
        f"no Fashion-MNIST here: set data.root to the folder of its -ubyte files, or install "
        f"Debian's package (apt-get install {PACKAGE})"
    )
