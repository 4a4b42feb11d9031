"""A training, or a sweep of them, on an engine that exists: each makes a `Plan` of a `Job`."""

from __future__ import annotations

from cnn.launch.job import Engine, Job, Plan, Run
from cnn.launch.local import Local
from cnn.launch.skypilot import SkyPilot
from cnn.launch.slurm import Slurm
from cnn.launch.tpu_vm import TpuVm

ENGINES: dict[str, type[Engine]] = {
    "local": Local,
    "slurm": Slurm,
    "skypilot": SkyPilot,
    "tpu-vm": TpuVm,
}
"""Engines by the name that `--on` takes; their fields are the flags of `cnn launch`."""

__all__ = ["ENGINES", "Engine", "Job", "Local", "Plan", "Run", "SkyPilot", "Slurm", "TpuVm"]
