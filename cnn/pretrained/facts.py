"""What travels with weights: of which network they are, what images they expect, their classes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preprocessing(NamedTuple):
    """What is done to a picture before the network sees it; a config's section `preprocess`.

    Attributes:
        image_size: Side of the square that the network sees, in pixels.
        mean: Of each channel, of pixels scaled to [0, 1].
        std: As `mean`.
        crop_fraction: Side of the centre crop as a share of the resized picture.
        interpolation: Of the resizing, as `cnn.data.make_preprocess` names it.
        resize: `shorter` or `stretch`: whether the aspect ratio is kept.
    """

    image_size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    resize: str = "shorter"


class Facts(NamedTuple):
    """All that is known of weights besides their tensors.

    Attributes:
        model: Name of the network in the registry; "" where it is not known.
        fields: In which it differs from the registered one.
        preprocess: None where it is not known.
        class_names: In the order of the logits; empty where they are not known.
    """

    model: str = ""
    fields: Mapping[str, Any] = {}
    preprocess: Preprocessing | None = None
    class_names: tuple[str, ...] = ()


def of_config(config: Mapping[str, Any], class_names: tuple[str, ...]) -> Facts:
    """The facts of what a run of that config trains."""
    model, section = config["model"], config["preprocess"]
    # How it is computed and trained says nothing of the network.
    others = ("name", "dtype", "norm_group_size", "frozen_norm")
    fields = {key: value for key, value in model.items() if key not in others}
    values = {key: section[key] for key in Preprocessing._fields}
    values.update(mean=tuple(section["mean"]), std=tuple(section["std"]))
    return Facts(model["name"], fields, Preprocessing(**values), class_names)


def to_json(facts: Facts) -> str:
    """One line, to be kept in a file of weights."""
    preprocess = facts.preprocess and facts.preprocess._asdict()
    return json.dumps({**facts._asdict(), "preprocess": preprocess})


def from_json(text: str, where: str) -> Facts:
    """The inverse of `to_json`.

    Raises:
        UserError: If the text is something else; it names `where`.
    """
    try:
        values = json.loads(text)
        preprocess = values["preprocess"]
        if preprocess is not None:
            preprocess = Preprocessing(**preprocess)
            lists = {"mean": tuple(preprocess.mean), "std": tuple(preprocess.std)}
            preprocess = preprocess._replace(**lists)
        names = tuple(values["class_names"])
        return Facts(str(values["model"]), dict(values["fields"]), preprocess, names)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the facts in {where} cannot be read ({type(error).__name__}: {error})"
        ) from error


def of_timm(card: Mapping[str, Any], where: str) -> Facts:
    """The facts in the `config.json` that timm puts beside weights.

    Its `architecture` is timm's name, which is ours only where the network is torchvision's too.

    Raises:
        UserError: If it lacks what each such file has; it names `where`.
    """
    # Before timm 0.9 the values stood at the top.
    known = card.get("pretrained_cfg", card)
    try:
        size = int(known["input_size"][1])
        # timm rounds the resized side down and we to the nearest, so the fraction is of that side.
        crop_fraction = size / math.floor(size / float(known["crop_pct"]))
        interpolation = known["interpolation"]
        preprocess = Preprocessing(
            image_size=size,
            mean=tuple(map(float, known["mean"])),
            std=tuple(map(float, known["std"])),
            crop_fraction=crop_fraction,
            # timm's word for one at random in training; it evaluates with this one.
            interpolation="bilinear" if interpolation == "random" else interpolation,
            resize="stretch" if known.get("crop_mode") == "squash" else "shorter",
        )
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise UserError(
            f"{where} is no config.json of timm ({type(error).__name__}: {error})"
        ) from error
    names = card.get("label_names", known.get("label_names")) or ()
    return Facts(str(card.get("architecture", "")), {}, preprocess, tuple(map(str, names)))


def differences(expected: Preprocessing, got: Preprocessing) -> list[str]:
    """What differs, each as `key=expected (here got)`."""
    return [
        f"{key}={value!r} (here {here!r})"
        for key, value, here in zip(expected._fields, expected, got, strict=True)
        if not _close(value, here)
    ]


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(_close, left, right))
    if isinstance(left, float):
        # 224 of 256 and 0.875 are one crop, however they are written.
        return math.isclose(left, right, rel_tol=1e-3)
    return left == right
