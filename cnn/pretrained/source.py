"""Where weights come from: a file, a Hub id, a run of ours; opened alike."""

from __future__ import annotations

import pathlib
from typing import Any

from cnn.checkpoint import Checkpoints
from cnn.core import without_teacher
from cnn.errors import UserError
from cnn.pretrained import facts as factual
from cnn.pretrained import files, hub
from cnn.pretrained.facts import Facts
from cnn.pretrained.files import Weights
from cnn.pretrained.layout import paths_of
from cnn.report.files import read_json


def open_weights(spec: str) -> Weights:
    """The weights that a user means, and what is known of them.

    Args:
        spec: `FILE.safetensors` or `FILE.pth` (or `.pt`, `.bin`); `hf:OWNER/NAME`; or the workdir
            of a run, whose newest checkpoint is taken, or `WORKDIR@STEP` for that one: the values
            that its evaluation used, so the moving average, or that of schedule-free learning,
            where it is evaluated.

    Raises:
        UserError: If there is no such thing, or it cannot be read.
    """
    if spec.startswith(hub.PREFIX):
        path, config = hub.fetch(spec)
        return _with_timm_facts(files.read(path), config)
    place = pathlib.Path(spec)
    if place.is_dir():
        return _of_run(place)
    workdir, _, step = spec.rpartition("@")
    if not place.exists() and step.isdecimal() and pathlib.Path(workdir).is_dir():
        return _of_run(pathlib.Path(workdir), int(step))
    if not place.exists():
        raise UserError(
            f"no weights {spec!r}; they are a file ({', '.join(files.SUFFIXES)}), the workdir of a"
            f" run, or an id of the Hub as {hub.PREFIX}timm/resnet50.a1_in1k"
        )
    # As the Hub's: whoever downloads by hand keeps the two together.
    return _with_timm_facts(files.read(place), place.with_name(hub.CONFIG))


def _with_timm_facts(weights: Weights, path: pathlib.Path | None) -> Weights:
    """The weights with the facts beside them, unless they have their own."""
    if path is None or weights.facts != Facts():
        return weights
    config = read_json(path)
    if config is None or not {"architecture", "pretrained_cfg"} & config.keys():
        return weights
    return weights._replace(facts=factual.of_timm(config, str(path)))


def _of_run(workdir: pathlib.Path, step: int | None = None) -> Weights:
    config, dataset = read_json(workdir / "config.json"), read_json(workdir / "dataset.json")
    if config is None or dataset is None:
        raise UserError(f"{workdir} holds no run (no config.json); name a file, or a workdir")
    notes: list[str] = []
    options: dict[str, Any] = {
        "keep_last": 1,
        "keep_best": 0,
        "best_metric": "",
        "best_mode": "max",
    }
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"no checkpoint in {workdir} yet; train longer")
    with Checkpoints(workdir / "checkpoints", notes.append, **options) as checkpoints:
        found = checkpoints.restore(None, step)
    if found is None:
        raise UserError(f"no checkpoint in {workdir} yet; train longer")
    state = found[1]["state"]
    params, model_state = state["params"], state["model_state"] or {}
    free = "schedule_free" in config and config["schedule_free"]["b1"]
    if free or (config["ema"]["decay"] and config["ema"]["evaluate"]):
        params, model_state = state["ema"]
    tensors = paths_of({"params": params, **without_teacher(model_state)})
    facts = factual.of_config(config, tuple(dataset["class_names"]))
    return Weights({"/".join(path): x for path, x in tensors.items()}, facts, tuple(notes))
