"""What a config trains, as one short text: the link between a result and the config of its row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

HOW = (
    "seed",
    "data.root",
    "data.cache_mb",
    "checkpoint.",
    "evaluation.batch_size",
    "loader.num_threads",
    "loader.num_workers",
    "parallel.",
    "resident.max_mb",
    "resident.steps_per_dispatch",
    "sampling.on_error",
    "train.checkpoint_every_steps",
    "train.log_every_steps",
)
"""Keys, or with a dot at the end sections, that say how or where a training is carried out."""
_LENGTH = 12


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values by dotted key, without those of `HOW`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = prefix + name
        if key in HOW or f"{key}." in HOW:
            continue
        if isinstance(value, Mapping):
            found.update(flat(value, f"{key}."))
        else:
            found[key] = value
    return found


def digest(config: Mapping[str, Any]) -> str:
    """The first digits of the SHA-256 of what a config trains.

    It is that of the values, so comments, the file's place and how the values came about do not
    matter.
    """
    text = json.dumps(flat(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def difference(
    recorded: Mapping[str, Any], config: Mapping[str, Any], base: Mapping[str, Any]
) -> str | None:
    """The first key in which a config trains something else than a recorded one, in words.

    A key that is newer than the record does not count as long as it has the value of `base`, the
    config of all defaults: what is new is off there.

    Returns:
        None where the two train the same.
    """
    old, new, defaults = flat(recorded), flat(config), flat(base)
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            return f"{key} was {old[key]!r}, is gone"
        if key not in old:
            if key not in defaults or new[key] != defaults[key]:
                return f"{key} is new, {new[key]!r}"
        elif old[key] != new[key]:
            return f"{key} was {old[key]!r}, is {new[key]!r}"
    return None
