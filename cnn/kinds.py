"""What belongs to each kind of task: its network, its data, its batches, its examination."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optax

from cnn import data, detectors, generators, models
from cnn.core import Gather, Task
from cnn.errors import UserError, unknown
from cnn.evaluators import classification as classification_evaluator
from cnn.evaluators import detection as detection_evaluator
from cnn.evaluators import generation as generation_evaluator
from cnn.evaluators import segmentation as segmentation_evaluator
from cnn.pretrained.teacher import Teacher
from cnn.tasks import (
    classification,
    cyclegan,
    detection,
    gan,
    pix2pix,
    segmentation,
    stylegan2,
    vae,
)

HostBatch = Mapping[str, np.ndarray]
_BLANK_BOXES, _BLANK_PROPOSALS = 100, 2000


class Kind(NamedTuple):
    """What belongs to a task's name.

    Attributes:
        make: The task itself.
        examine: Its examination after training.
        model: (name, keywords) -> the linen module, or `generators.Networks`.
        target: Of the data, as in `data.SourceInfo`; "none" where nothing but images is read.
        blank: (batch size, image size) -> what a batch has beside images, to be learnt.
        examined: What `examine` needs of what the task predicts.
        as_fitted: Whether `examine` has the examples as the model saw them, or as they are stored.
        ready: Raises a UserError where something is missing that `examine` needs.
        options: What has the section `task` as keywords; None means `make` itself.
        pictured: Of what the task predicts, the images that are kept as a sheet after each
            evaluation; "" keeps none.
    """

    make: Callable[..., Task[Any]]
    examine: Callable[..., Any]
    model: Callable[..., Any]
    target: str
    blank: Callable[[int, int], HostBatch]
    examined: tuple[str, ...]
    as_fitted: bool = False
    ready: Callable[[], None] | None = None
    options: Callable[..., Any] | None = None
    pictured: str = ""

    @property
    def knobs(self) -> Callable[..., Any]:
        """The function whose keyword-only arguments the section `task` is."""
        return self.options or self.make


def _blank_labels(batch_size: int, image_size: int) -> HostBatch:
    del image_size
    return {"label": np.zeros(batch_size, np.int32)}


def _blank_masks(batch_size: int, image_size: int) -> HostBatch:
    return {"mask": np.zeros((batch_size, image_size, image_size), np.uint8)}


def _blank_boxes(batch_size: int, image_size: int) -> HostBatch:
    del image_size
    boxes = np.zeros((batch_size, _BLANK_BOXES, 4), np.float32)
    return {
        "boxes": boxes,
        "box_labels": np.full(boxes.shape[:2], data.NO_OBJECT, np.int32),
        "proposals": np.zeros((batch_size, _BLANK_PROPOSALS, 4), np.float32),
    }


def _blank_nothing(batch_size: int, image_size: int) -> HostBatch:
    del batch_size, image_size
    return {}


def _generator(
    name: str, *, num_classes: int, conditional: bool = False, **fields: Any
) -> generators.Networks:
    """A generator of images of no class or, with `model.conditional`, of the data's classes.

    Raises:
        UserError: As `models.generator`, and if the family knows no classes.
    """
    if conditional and not hasattr(generators.family(name).Generator, "num_classes"):
        raise UserError(f"{name} makes images of no class; set model.conditional=False")
    of_classes = {"num_classes": num_classes} if conditional else {}
    return models.generator(name, **of_classes, **fields)


KINDS = {
    "classification": Kind(
        classification.make,
        classification_evaluator.examine,
        models.classifier,
        target="class",
        blank=_blank_labels,
        examined=("logits", "probabilities"),
        options=classification.Options,
    ),
    "segmentation": Kind(
        segmentation.make,
        segmentation_evaluator.examine,
        models.segmenter,
        target="mask",
        blank=_blank_masks,
        examined=("classes",),
        as_fitted=True,
    ),
    "detection": Kind(
        detection.make,
        detection_evaluator.examine,
        models.detector,
        target="boxes",
        blank=_blank_boxes,
        examined=("detections",),
        as_fitted=True,
        ready=detection_evaluator.check_installed,
    ),
    "gan": Kind(
        gan.make,
        generation_evaluator.examine_scores,
        _generator,
        target="none",
        blank=_blank_labels,
        examined=("real_score", "made_score"),
        options=gan.Options,
        pictured="images",
    ),
    "stylegan2": Kind(
        stylegan2.make,
        generation_evaluator.examine_scores,
        _generator,
        target="none",
        blank=_blank_nothing,
        examined=("real_score", "made_score"),
        options=stylegan2.Options,
        pictured="images",
    ),
    "vae": Kind(
        vae.make,
        functools.partial(
            generation_evaluator.examine_means, ("loss", "reconstruction", "divergence")
        ),
        _generator,
        target="none",
        blank=_blank_nothing,
        examined=("loss", "reconstruction", "divergence"),
        pictured="images",
    ),
    "pix2pix": Kind(
        pix2pix.make,
        functools.partial(generation_evaluator.examine_means, ("l1",)),
        _generator,
        target="pair",
        blank=_blank_nothing,
        examined=("l1",),
        pictured="shown",
    ),
    "cyclegan": Kind(
        cyclegan.make,
        functools.partial(generation_evaluator.examine_means, ("cycle",)),
        _generator,
        target="pair",
        blank=_blank_nothing,
        examined=("cycle",),
        pictured="shown",
    ),
}


_NEEDED = {
    "mask": (
        "classes of pixels",
        "masks",
        "data.source='masks' has, and 'scenes' with data.options.scenes.target='mask'",
    ),
    "boxes": (
        "boxes of objects",
        "boxes",
        "data.source='boxes' has, and 'scenes' with data.options.scenes.target='boxes'",
    ),
}
"""Of a target of images' parts: what is learnt, what examples must have, and which sources do."""


def check_target(info: data.SourceInfo, config: Mapping[str, Any]) -> None:
    """Refuses data of another kind than the task learns.

    Raises:
        UserError: If they are.
    """
    task, target = config["task"]["name"], kind_of(config).target
    if target == "none":
        return
    if target == "class" and info.target != target:
        raise UserError(
            f"task.name='classification' learns one class a picture, but the labels of {info.name} "
            f"are of the kind {info.target!r} (data.options.table.target)"
        )
    if target == "pair" and info.target != target:
        raise UserError(
            f"task.name={task!r} learns from two images an example, but {info.name} has one; "
            "data.source='pairs', 'unpaired' and 'outlines' have two"
        )
    if info.target != target:
        learnt, lacking, sources = _NEEDED[target]
        raise UserError(
            f"task.name={task!r} learns {learnt}, but {info.name} has no {lacking}; {sources}"
        )


def check_ready(config: Mapping[str, Any]) -> None:
    """Looks for what training and examination need beside the data, before anything is written.

    Raises:
        UserError: If something is missing: a package, or files of proposals for a detector that
            makes none; or if there is no such detector.
    """
    kind = kind_of(config)
    if kind.ready is not None:
        kind.ready()
    if kind.target != "boxes":
        return
    name = config["model"]["name"]
    reads = getattr(detectors.family(name).Detector, "reads_proposals", False)
    # A config without the section is older than these detectors.
    if reads and not any(config["proposals"].values()):
        raise UserError(
            f"{name} looks at proposals, and the config names none: `cnn data propose` writes "
            "files of them, for proposals.train and proposals.eval"
        )


def check_moved(config: Mapping[str, Any]) -> None:
    """Refuses what would part masks or boxes from images, or needs labels.

    Raises:
        UserError: If a task with masks or boxes has it.
    """
    target = kind_of(config).target
    if target not in _NEEDED:
        return
    off = {
        "policy.name": (config["policy"]["name"], "none"),
        "resident.enabled": (config["resident"]["enabled"], False),
        "evaluation.views": (config["evaluation"]["views"], "center"),
    }
    for key, (value, wanted) in off.items():
        if value != wanted:
            raise UserError(
                f"{key} must be {wanted!r} where {_NEEDED[target][0]} are learnt, got {value!r}: "
                f"{_NEEDED[target][1]} are not moved with the images there"
            )


def check_generated(config: Mapping[str, Any]) -> None:
    """Refuses what a task that makes images has no use for.

    Raises:
        UserError: If such a task has it.
    """
    if not kind_of(config).pictured:
        return
    preprocess = config["preprocess"]
    if any(value != 0.5 for name in ("mean", "std") for value in preprocess[name]):
        raise UserError(
            "pixels of generators are from -1 to 1, so preprocess.mean and preprocess.std must be "
            f"0.5, got {tuple(preprocess['mean'])} and {tuple(preprocess['std'])}"
        )
    off = {
        "evaluation.views": (config["evaluation"]["views"], "center"),
        "init.weights": (config["init"]["weights"], ""),
        "whitening.num_images": (config["whitening"]["num_images"], 0),
    }
    for key, (value, wanted) in off.items():
        if value != wanted:
            raise UserError(f"{key} must be {wanted!r} where images are made, got {value!r}")


def make_task(
    model: Any,
    tx: optax.GradientTransformation,
    gather: Gather | None,
    teacher: Teacher | None,
    *,
    name: str,
    **options: Any,
) -> Task[Any]:
    """The task of that name, with its keywords and, for distillation, a teacher.

    Raises:
        UserError: If the task has no such keyword, or no distillation and there is a teacher.
    """
    kind = _named(name)
    known = inspect.signature(kind.knobs).parameters
    for key in options:
        if key not in known:
            raise unknown(f"key of config.task for {name}", key, known)
    if teacher is None:
        return kind.make(model, tx, gather, **options)
    if "distillation" not in known:
        raise UserError(f"teacher.name={teacher.name!r}, but the task {name} has no distillation")
    return kind.make(model, tx, gather, teacher.model, **options)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """What belongs to the task of a config.

    Raises:
        UserError: If there is no such task.
    """
    return _named(config["task"]["name"])


def _named(name: str) -> Kind:
    if name not in KINDS:
        raise unknown("task", name, KINDS)
    return KINDS[name]


def make_model(
    kind: Kind,
    *,
    name: str,
    num_classes: int,
    axis_name: str | None = None,
    norm_group_size: int = 0,
    **fields: Any,
) -> Any:
    """The network of the task: of `models.classifier`, `segmenter`, `detector` or `generator`."""
    shared = {"axis_name": axis_name, "norm_group_size": norm_group_size}
    return kind.model(name, num_classes=num_classes, **shared, **fields)
