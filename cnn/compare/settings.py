"""The config section `compare`: models and their recipes, seeds, the budget, what is tried."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn.errors import UserError, unknown
from cnn.experiment import Config

BUDGETS = ("steps", "images", "macs", "seconds")
SHARED = ("compare", "data", "seed", "train")
"""What a recipe may not change: without it runs could not be compared."""
_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")


class Budget(NamedTuple):
    """What every training gets; see `make_comparison`."""

    kind: str
    amount: float


class Robustness(NamedTuple):
    """Which changes of the evaluation's images are tried; see `make_comparison`."""

    shifts_px: tuple[int, ...]
    rotations_degrees: tuple[float, ...]
    noise_stds: tuple[float, ...]
    blur_sigmas_px: tuple[float, ...]
    image_sizes: tuple[int, ...]
    num_examples: int


class Comparison(NamedTuple):
    """What is compared.

    Attributes:
        recipes: The whole config of each model, by the name it is shown with.
        seeds: One training of each model from each.
        budget: Of each training.
        fractions: Shares of the training set, ascending; 1 is among them.
        evaluations: So often each training is evaluated, at equal distances.
        robustness: What is tried on the trained models.
        image_size: Of the base config; sizes in pixels are those of such an image.
    """

    recipes: Mapping[str, Config]
    seeds: tuple[int, ...]
    budget: Budget
    fractions: tuple[float, ...]
    evaluations: int
    robustness: Robustness
    image_size: int


def read(config: Config) -> Comparison:
    """The comparison that a config file describes.

    Raises:
        UserError: As `make_comparison`, or where the config has no section `compare`.
    """
    if "compare" not in config:
        raise UserError(
            "the config has no section 'compare' and is of one training; compare with "
            "--config=configs/mnist5k/cnn_vs_vit.py"
        )
    base = {name: value for name, value in config.items() if name != "compare"}
    return make_comparison(base, **config["compare"])


def make_comparison(
    base: Config,
    *,
    models: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    budget: Mapping[str, Any],
    fractions: Sequence[float],
    evaluations: int,
    robustness: Mapping[str, Any],
) -> Comparison:
    """Checks the section and puts each model's recipe into the base config.

    Args:
        base: A config of one training. Its length (`train.num_epochs`, `train.num_steps`) and its
            cadence of log lines and evaluations give way to the budget.
        models: Name -> recipe: sections and keys that differ from the base. The name is shown, and
            names a folder. Where a recipe names another network than the base, fields of the
            base's network are dropped. Data, seed and length are the same for all.
        seeds: At least one, each once.
        budget: `kind` and `amount` of one training, the same for all: "steps"; "images" that it
            sees, counted as often as they come; "macs", the multiply-accumulates of its steps,
            backward passes included; "seconds" of its steps, without compiling and evaluating, by a
            short trial of each model on this machine.
        fractions: Shares of each class of the training set, in (0, 1], 1 among them. Each is as
            many trainings again. A smaller share has the same budget and fewer examples; its batch
            is as large as it can be, its schedule as many steps long.
        evaluations: How often the whole split is evaluated in a training, at least 1.
        robustness: `shifts_px`, whole pixels in one of eight directions; `rotations_degrees`, to
            either side; `noise_stds`, of Gaussian noise, where white is 1; `blur_sigmas_px`, of a
            Gaussian; `image_sizes`, to which images are resized that were trained on at another:
            models that cannot take them are left out. Pixels are those of an image of the base's
            size. Directions, sides and noise are the same whenever an image is looked at.
            `num_examples` of the split, evenly spaced, are looked at; 0 means all.

    Raises:
        UserError: For an unknown name, or a value out of its range.
    """
    for name, known in (("budget", Budget._fields), ("robustness", Robustness._fields)):
        _check_keys(f"compare.{name}", {"budget": budget, "robustness": robustness}[name], known)
    if not models:
        raise UserError("compare.models is empty; give at least one model and its recipe")
    for name in models:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"compare.models has the name {name!r}, which names a folder; use letters, digits, "
                "and . _ + - inside"
            )
    if not seeds or len(set(seeds)) < len(seeds) or any(seed < 0 for seed in seeds):
        raise UserError(
            f"compare.seeds must be different numbers from 0 on, at least one; got {tuple(seeds)}"
        )
    if 1 not in fractions or len(set(fractions)) < len(fractions):
        raise UserError(
            f"compare.fractions must be different shares, 1 among them; got {tuple(fractions)}"
        )
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise UserError(f"compare.fractions must be in (0, 1], got {tuple(fractions)}")
    if evaluations < 1:
        raise UserError(f"compare.evaluations must be at least 1, got {evaluations}")
    return Comparison(
        recipes={name: _recipe(base, name, changes) for name, changes in models.items()},
        seeds=tuple(seeds),
        budget=_budget(Budget(**budget)),
        fractions=tuple(sorted(float(fraction) for fraction in fractions)),
        evaluations=evaluations,
        robustness=_robustness(robustness),
        image_size=base["preprocess"]["image_size"],
    )


def _check_keys(section: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in values:
        if key not in known:
            raise unknown(f"key of config.{section}", key, known)
    for key in known:
        if key not in values:
            raise UserError(f"config.{section} lacks {key!r} (configs/base.py has every key)")


def _budget(budget: Budget) -> Budget:
    if budget.kind not in BUDGETS:
        raise unknown("compare.budget.kind", budget.kind, BUDGETS)
    # Turned round, so that NaN is refused too.
    if not budget.amount > 0:
        raise UserError(f"compare.budget.amount must be above 0, got {budget.amount}")
    return budget


def _robustness(values: Mapping[str, Any]) -> Robustness:
    found = {}
    for key, value in values.items():
        if key == "num_examples":
            if value < 0:
                raise UserError(f"compare.robustness.num_examples must be at least 0, got {value}")
            found[key] = value
            continue
        # 0 changes nothing, so it is the unchanged image, which is there anyway.
        if any(not amount > 0 for amount in value) or len(set(value)) < len(value):
            raise UserError(
                f"compare.robustness.{key} must be different numbers above 0, got {tuple(value)}"
            )
        found[key] = tuple(sorted(value))
    return Robustness(**found)


def _recipe(base: Config, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    where = f"compare.models.{name}"
    for section in changes:
        if section in SHARED:
            raise UserError(
                f"{where} changes {section!r}, which all models share; set it in the base config"
            )
    merged = _merge({k: v for k, v in base.items() if k != "model"}, _without_model(changes), where)
    model, own = base["model"], changes.get("model", {})
    if own.get("name", model["name"]) != model["name"]:
        model = {key: model[key] for key in ("name", "dtype", "norm_group_size")}
    return {**merged, "model": {**model, **own}}


def _without_model(changes: Mapping[str, Any]) -> dict[str, Any]:
    """A model has fields that no config lists; its own constructor checks them."""
    return {section: values for section, values in changes.items() if section != "model"}


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        if key not in base:
            raise unknown(f"key of {where}", key, base)
        if isinstance(base[key], Mapping):
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{key} is a section, got {value!r}")
            merged[key] = _merge(base[key], value, f"{where}.{key}")
        else:
            merged[key] = value
    return merged
