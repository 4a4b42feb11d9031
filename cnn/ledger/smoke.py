"""A row made small enough for two cores and seconds: its whole recipe on a small network."""

from __future__ import annotations

from typing import Any

from cnn import detectors, generators, heads, models
from cnn.experiment import Config
from cnn.kinds import kind_of

NUM_EPOCHS = 4
"""The length of the training, of one step an epoch, to which the schedule is compressed."""
BATCH_SIZE = 8
_MAX_PARAMETERS = 100_000
_NUM_EVAL = 10
_NUM_CLASSES = 10
_SIZES = ("width", "depth", "num_heads", "patch_size", "widths", "depths")
"""Fields of models that a smaller one has its own values of."""
_TESTS = ("lenet_1998_test", "convnextv2_test", "deit_test")
"""Small networks of variants that differ in more than their size; others: the first `_test`."""


def shrink(config: Config) -> dict[str, Any]:
    """The config of the same recipe on made-up images.

    Optimizer, penalties, schedule, augmentation, policies, mixing and moving average stay, and the
    model's own settings; epochs become single steps and all times are scaled to fewer of them. A
    model of more than 100,000 parameters is replaced by its family's smallest.

    Args:
        config: Of a row.

    Raises:
        UserError: If there is no such model.
    """
    full_name = config["model"]["name"]
    name, source_of = small_model(full_name), _registry(full_name).source
    model = {**config["model"], "name": name}
    full_size = size = config["preprocess"]["image_size"]
    if name != full_name:
        size = source_of(name).image_size
        model = {key: value for key, value in model.items() if key not in _SIZES}
    if model["norm_group_size"]:
        model["norm_group_size"] = BATCH_SIZE // 2
    # Larger than what the model sees, so that crops have a choice.
    side = size + size // 8
    images = {
        "num_train": BATCH_SIZE,
        "num_eval": _NUM_EVAL,
        # A generator's paper has no classes, its config may.
        "num_classes": source_of(full_name).num_classes or _NUM_CLASSES,
        "height": side,
        "width": side,
        "channels": config["preprocess"]["channels"],
    }
    source, options = "synthetic", {**config["data"]["options"], "synthetic": images}
    if kind_of(config).target in ("mask", "boxes"):
        # What is made up has no parts.
        scenes = {"num_train": BATCH_SIZE, "num_eval": _NUM_EVAL, "size_px": max(side, 28)}
        options["scenes"] = {**options["scenes"], **scenes, "target": kind_of(config).target}
        source = "scenes"
    changes: dict[str, dict[str, Any]] = {
        "data": {
            **{"source": source, "root": "", "name": "", "train_split": "", "eval_split": ""},
            "options": options,
        },
        "sampling": {"weights": [], "fraction": 1.0},
        "preprocess": {"image_size": size},
        "loader": {"batch_size": BATCH_SIZE, "num_threads": 1, "num_workers": 0},
        "evaluation": {"batch_size": BATCH_SIZE},
        "init": {"weights": ""},
        "parallel": {"num_devices": 1, "mesh": "", "rules": []},
    }
    if BATCH_SIZE % config["task"]["accumulate_steps"]:
        changes["task"] = {"accumulate_steps": 2}
    changes |= _compressed(config, size / full_size)
    merged = {
        section: {**values, **changes[section]} if section in changes else values
        for section, values in config.items()
    }
    return {**merged, "model": model}


def small_model(name: str) -> str:
    """The model itself where it is small, else the smallest of its family that is of its kind.

    Of a segmenter or detector it is the smallest of its head.

    Raises:
        UserError: If there is no such model.
    """
    registry = _registry(name)
    if registry is not models:
        known = registry.names(registry.family_of(name))
        return next(one for one in known if one.endswith("_test"))
    if models.describe(name).parameters <= _MAX_PARAMETERS:
        return name
    family = models.family_of(name)
    known = models.names(family)
    for test in _TESTS:
        kind = test.removesuffix("_test")
        if test in known and name.startswith(kind):
            return test
    return next(one for one in known if one.endswith("_test"))


def _registry(name: str) -> Any:
    """Where that name is; of one that nobody knows that of classifiers, which says so."""
    others = (heads.REGISTRY, detectors.REGISTRY, generators.REGISTRY)
    return next((registry for registry in others if name in registry.names()), models)


def _compressed(config: Config, ratio: float) -> dict[str, dict[str, Any]]:
    """Sections whose values are times, or sizes that change with time."""
    train, schedule, by_epoch = (config[name] for name in ("train", "schedule", "by_epoch"))
    factor = NUM_EPOCHS / train["num_epochs"]
    return {
        "train": {
            "num_epochs": float(NUM_EPOCHS),
            "num_steps": 0,
            "log_every_steps": 2,
            "eval_every_steps": NUM_EPOCHS,
            "checkpoint_every_steps": NUM_EPOCHS,
        },
        "schedule": {
            "warmup_epochs": factor * schedule["warmup_epochs"],
            "decay_epochs": [factor * epochs for epochs in schedule["decay_epochs"]],
        },
        "by_epoch": {
            "sizes_px": [max(8, round(ratio * px / 8) * 8) for px in by_epoch["sizes_px"]],
            "from_epochs": list(range(len(by_epoch["sizes_px"]))),
        },
    }
