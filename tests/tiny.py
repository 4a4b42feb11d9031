"""A run small enough for a test, on real digits."""

from __future__ import annotations

import json
from typing import Any

from cnn import experiment as experiments
from configs.mnist5k import lenet5

OVERRIDES = {
    "model": {"name": "resnet_test"},
    "ema": {"decay": 0.99},
    "optimizer": {"name": "adamw", "learning_rate": 2e-3},
    "regularization": {"weight_decay": 1e-2, "l2": 0.0},
    "loader": {"batch_size": 32},
    "train": {
        "num_steps": 6,
        "log_every_steps": 2,
        "eval_every_steps": 6,
        "checkpoint_every_steps": 3,
    },
    "parallel": {"num_devices": 1},
}


def config(**sections: dict[str, Any]) -> dict[str, Any]:
    """The digits' config with a tiny residual network and an average, changed as asked."""
    result = json.loads(json.dumps(lenet5.get_config().to_dict()))
    for changes in (OVERRIDES, sections):
        for section, values in changes.items():
            if isinstance(values, dict):
                result[section] = {**result[section], **values}
            else:
                result[section] = values
    return result


def experiment(**sections: dict[str, Any]) -> experiments.Experiment:
    return experiments.build(config(**sections))
