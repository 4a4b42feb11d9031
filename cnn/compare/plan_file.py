"""`plan.json` of a comparison: what is trained and what it costs, for whoever reads the results."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnn.compare.budget import Group
from cnn.compare.measure import write_json
from cnn.compare.settings import Comparison
from cnn.errors import UserError
from cnn.experiment import Config
from cnn.report import files

PLAN = "plan.json"
SECONDS = "step_seconds.json"


class Plan(NamedTuple):
    """What `plan.json` holds: groups as dicts of `Group`'s fields, and what is common to them.

    `image_size` is that of the base config, which sizes in pixels are of.
    """

    seeds: tuple[int, ...]
    budget: Mapping[str, Any]
    image_size: int
    groups: tuple[Mapping[str, Any], ...]
    about: Mapping[str, Any]


def write(
    workdir: pathlib.Path,
    comparison: Comparison,
    groups: Sequence[Group],
    about: Mapping[str, Any],
) -> None:
    """Writes the plan; `about` is the program and the machine."""
    rows = [
        {
            **{name: value for name, value in group._asdict().items() if name != "config"},
            "network": group.config["model"]["name"],
            "data": group.config["data"]["name"] or group.config["data"]["source"],
            "num_steps": group.num_steps,
            "batch_size": group.batch_size,
            "folder": group.folder.as_posix(),
        }
        for group in groups
    ]
    content = {
        "seeds": comparison.seeds,
        "budget": comparison.budget._asdict(),
        "image_size": comparison.image_size,
        "groups": rows,
        "about": about,
        "recipes": comparison.recipes,
    }
    write_json(workdir / PLAN, content)


def read(workdir: pathlib.Path) -> Plan:
    """The plan. Raises a UserError where the directory holds none."""
    content = files.read_json(workdir / PLAN)
    if content is None:
        raise UserError(f"{workdir} holds no comparison (no {PLAN}); cnn compare makes one")
    return Plan(
        seeds=tuple(content["seeds"]),
        budget=content["budget"],
        image_size=content["image_size"],
        groups=tuple(content["groups"]),
        about=content["about"],
    )


def remembered(
    workdir: pathlib.Path, measure: Callable[[Config, pathlib.Path], float]
) -> Callable[[str, Config], float]:
    """Seconds of a step of a model, measured once: a comparison that goes on keeps its lengths.

    Args:
        workdir: Of the comparison.
        measure: (config, directory for a trial) -> seconds of a step.
    """

    def step_seconds(name: str, config: Config) -> float:
        known = files.read_json(workdir / SECONDS) or {}
        key = f"{name}/{config['sampling']['fraction']:g}"
        if key not in known:
            known[key] = measure(config, workdir / "trial")
            write_json(workdir / SECONDS, known)
        return known[key]

    return step_seconds
