"""The pictures of `cnn predict` with a segmenter: regions drawn over them, and masks."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.errors import UserError

if TYPE_CHECKING:
    from cnn.cli.predict import Predictor

WINDOWS_AT_ONCE = 8


def margin_px(model: Any, batch: Mapping[str, np.ndarray]) -> int:
    """Half of what the model's logits are smaller than its images, in pixels."""
    import jax

    images = jax.ShapeDtypeStruct(batch["image"].shape, np.float32)
    key = jax.random.key(0)
    logits, _ = jax.eval_shape(lambda k, x: model.init_with_output(k, x), key, images)
    return -(-(images.shape[1] - logits.shape[1]) // 2)


def draw_all(
    predictor: Predictor, pictures: Mapping[str, np.ndarray], args: argparse.Namespace
) -> None:
    """Predicts all pictures, draws them and prints a line for each.

    Raises:
        UserError: If there is no folder to draw into, or it cannot be written to.
    """
    from cnn.cli import workdir
    from cnn.report import overlay, picture

    if not args.output:
        raise UserError("a segmenter draws its regions: say where, --output=DIR")
    folder = pathlib.Path(args.output)
    workdir.check_writable(folder, flag="--output")
    for name, image in pictures.items():
        classes = classes_of(predictor, image, args)
        drawn, mask = (folder / f"{pathlib.Path(name).stem}{end}" for end in (".png", "_mask.png"))
        drawn.write_bytes(picture.encode_png(overlay.drawn(image, classes)))
        overlay.save_mask(mask, classes)
        counts = np.bincount(classes[classes != overlay.IGNORED], minlength=1)
        best = np.argsort(-counts, kind="stable")[: args.top]
        shares = counts / max(1, counts.sum())
        top = [(predictor.class_names[i], float(shares[i])) for i in best if counts[i]]
        if args.json:
            found = {"file": name, "drawn": str(drawn), "mask": str(mask)}
            print(json.dumps({**found, "pixels": [list(pair) for pair in top]}))
        else:
            shown = "  ".join(f"{label} {share:.4f}" for label, share in top)
            print(f"{name}: {shown}  -> {drawn}")


def classes_of(predictor: Predictor, image: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """The class of each pixel of a picture of any size; 255 where the network did not look."""
    from cnn.data import IGNORED, Preprocess
    from cnn.data.geometry import map_mask, undone
    from cnn.data.moves import geometry_of
    from cnn.data.transforms import to_channels
    from cnn.evaluators.windows import Windows, by_windows

    preprocess = predictor.preprocess
    if not isinstance(preprocess, Preprocess):
        raise UserError("a segmenter sees a picture once: leave --views out")

    def probabilities(windows: np.ndarray) -> np.ndarray:
        seen = np.stack([preprocess.normalise(window) for window in windows])
        return predictor.probabilities(seen)

    if args.windows:
        size, count = preprocess.image_size, predictor.batch_size(WINDOWS_AT_ONCE)
        windows = Windows(size, args.overlap, predictor.margin_px or 0, count)
        pixels = to_channels(image, preprocess.channels)
        return by_windows(probabilities, pixels, windows).argmax(axis=-1).astype(np.uint8)
    fitted = np.repeat(preprocess.fit(image)[None], predictor.batch_size(1), axis=0)
    classes = probabilities(fitted)[0].argmax(axis=-1).astype(np.uint8)
    steps = geometry_of(image.shape[:2], preprocess.moves(image.shape[:2]))
    return map_mask(undone(steps), classes, outside=IGNORED)
