"""What an evaluation sees of an image: its centre, also its mirror image, or ten crops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from cnn.data.moves import Crop
from cnn.data.resize import Pixels
from cnn.data.transforms import ModelInput, Preprocess
from cnn.errors import UserError, unknown

Views = Float32[np.ndarray, "views size size model_channels"]
VIEWS = ("center", "flip", "translate", "ten_crop")


def make_views(
    preprocess: Preprocess, views: str = "center"
) -> Callable[[Pixels], ModelInput | Views]:
    """Test-time augmentation: image -> what the model sees of it, whose outputs are averaged.

    Args:
        preprocess: The transform to the centre crop.
        views: "center": the centre crop alone. "flip": it and its mirror image, as VGG was
            evaluated (Simonyan and Zisserman 2015, section 3.2). "translate": the centre crop, it
            moved by a pixel up and left and down and right with its border mirrored, and the mirror
            images of all three (Jordan 2024, section 3.5, where the first two count double and
            logits are averaged). "ten_crop": the four corners and
            the centre of the square of image_size / crop_fraction, and their mirror images, as
            AlexNet was (Krizhevsky et al. 2012, section 4.1) and as ResNet's table 3 is (He et al.
            2016). All average probabilities; GoogLeNet's 144 crops are not here.

    Returns:
        "center": image -> [size, size, channels]; the others with an axis of views before.

    Raises:
        UserError: If there is no such kind, or the ten crops would be the same.
    """
    if views not in VIEWS:
        raise unknown("evaluation.views", views, VIEWS)
    if views == "center":
        return preprocess
    if views == "flip":

        def flip(image: Pixels) -> Views:
            seen = preprocess(image)
            return np.stack([seen, seen[:, ::-1]])

        return flip
    if views == "translate":

        def translate(image: Pixels) -> Views:
            seen = preprocess(image)
            height, width = seen.shape[:2]
            wide = np.pad(seen, ((1, 1), (1, 1), (0, 0)), mode="reflect")
            three = np.stack([seen, wide[:height, :width], wide[2:, 2:]])
            return np.concatenate([three, three[:, :, ::-1]])

        return translate
    size, frame_size = preprocess.image_size, preprocess.frame_size
    if frame_size == size:
        raise UserError(
            "evaluation.views='ten_crop' takes its crops from a larger square, but "
            "preprocess.crop_fraction is 1; set it to 0.875 for 224 pixels from 256"
        )
    frame = preprocess.changed(image_size=frame_size, crop_fraction=1.0)
    end = frame_size - size
    middle = round(end / 2.0)
    corners = ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))
    crops = [Crop(top, left, size, size) for top, left in corners]

    def ten_crop(image: Pixels) -> Views:
        square = frame.fit(image)
        seen = np.stack([preprocess.normalise(crop.pixels(square)) for crop in crops])
        return np.concatenate([seen, seen[:, :, ::-1]])

    return ten_crop
