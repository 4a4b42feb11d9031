"""Selective search: proposals from the picture alone, by what is alike and lies together.

Uijlings et al. 2013, "Selective search for object recognition", as OpenCV has it. Segments of
Felzenszwalb & Huttenlocher 2004 are joined pair by pair, the most alike in colour, texture, size
and fit first; each segment on the way gives a box. Several colour spaces, sizes of segments and
measures of likeness give boxes that differ.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from cnn.data.proposals import Scored
from cnn.data.transforms import to_channels
from cnn.errors import UserError


def selective_search(
    image: UInt8[np.ndarray, "height width channels"], *, quality: bool = False
) -> Scored:
    """The boxes of a picture, each once, in its pixels; the same whenever it is asked for.

    Scores are those of section 3.3: a random number in [0, 1] times the place in the hierarchy,
    where the whole picture is the first. The place is that by size here, since OpenCV does not say
    where a box comes from.

    Args:
        image: Gray or RGB.
        quality: The paper's "quality" in place of its "fast": more boxes, in several times as long.

    Raises:
        UserError: If OpenCV is missing or has no contributed modules, or the image is neither.
    """
    check_installed()
    import cv2

    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(to_channels(image, 3)[:, :, ::-1]))
    (search.switchToSelectiveSearchQuality if quality else search.switchToSelectiveSearchFast)()
    # OpenCV orders them by a generator that nothing seeds; the boxes themselves are not random.
    x, y, width, height = np.unique(search.process(), axis=0).astype(np.float32).T
    boxes = np.stack([y, x, y + height, x + width], axis=1)[
        np.argsort(-width * height, kind="stable")
    ]
    places = np.random.Generator(np.random.Philox(0)).random(len(boxes)) * np.arange(len(boxes))
    return Scored(boxes, (1 - places / len(boxes)).astype(np.float32))


def check_installed() -> None:
    """Raises a UserError where OpenCV is missing, or is one without selective search."""
    try:
        from cv2 import ximgproc  # noqa: F401
    except ImportError as error:
        raise UserError(
            "selective search needs OpenCV with its contributed modules; run: "
            "pip install -e '.[proposals]'"
        ) from error
