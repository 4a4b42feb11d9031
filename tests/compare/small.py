"""A comparison small enough for a test: two tiny networks on real digits."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from configs import base
from tests import tiny

MODELS = {
    "cnn": {"model": {"name": "lenet_test"}, "optimizer": {"name": "adamw", "learning_rate": 2e-3}},
    "vit": {
        "model": {"name": "vit_test", "patch_size": 7, "pool": "gap", "position": "sincos2d"},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3},
    },
}
TINY = {
    "parallel": {"num_devices": 1},
    "schedule": {"warmup_epochs": 0.0},
    "ema": {"decay": 0.0},
    "train": {"checkpoint_every_steps": 4},
}


def section(**changes: Any) -> dict[str, Any]:
    """The section `compare`, changed as asked; mappings are merged one level deep."""
    found = json.loads(json.dumps(base.get_comparison().to_dict()))
    found |= {"models": copy.deepcopy(MODELS), "seeds": [0, 1], "evaluations": 2}
    found["budget"] = {"kind": "steps", "amount": 8}
    found["robustness"] |= {"shifts_px": [3], "image_sizes": [14], "num_examples": 40}
    for key, value in changes.items():
        merge = isinstance(value, dict) and key != "models"
        found[key] = {**found[key], **value} if merge else value
    return found


def config(**changes: Any) -> dict[str, Any]:
    """A whole config with that section."""
    return {**tiny.config(**TINY), "compare": section(**changes)}


FILE = """from tests.compare import small


def get_config(arg=""):
    del arg
    return small.config_dict()
"""


def config_dict() -> ConfigDict:
    """As a config file gives it: with tuples, which flags can override, for JSON's lists."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(inner) for key, inner in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ConfigDict(tuples(config()))


def words(directory: pathlib.Path, workdir: pathlib.Path, **values: Any) -> list[str]:
    """The command line of `cnn compare` on a file that holds this config, changed as asked."""
    path = directory / "small.py"
    path.write_text(FILE)
    overrides = [f"--config.{key.replace('__', '.')}={value}" for key, value in values.items()]
    return ["compare", f"--config={path}", f"--workdir={workdir}", *overrides]
