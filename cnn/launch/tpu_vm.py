"""The gcloud commands for a slice of a TPU: ask for it, install, train, give it back."""

from __future__ import annotations

import dataclasses
import os

from cnn.errors import UserError
from cnn.launch.job import (
    REMOTE_PYTHON,
    Job,
    check_clone,
    find_program,
    install_commands,
    quoted,
)
from cnn.launch.template import render

RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
"""The software of a TPU VM by the kind of chip, from "TPU software versions" of Google Cloud's
documentation; tpu7x is to be had by GKE alone."""

_TEMPLATE = "tpu_vm.sh.jinja"
_POLL_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class TpuVm:
    """A queued resource for each run, one run after another.

    Attributes:
        accelerator_type: Chips and size as Google writes them: `v6e-16`.
        zone: Where.
        project: Who pays; None is gcloud's own.
        runtime_version: None is what `RUNTIMES` has for the chip.
        spot: Cheap machines that may be preempted, and are then asked for again.
        setup: Shell commands before the installation, for instance a mount of the workdir.
    """

    accelerator_type: str | None = None
    zone: str | None = None
    project: str | None = None
    runtime_version: str | None = None
    spot: bool = False
    setup: str = ""

    def plan(self, job: Job) -> TpuVmPlan:
        """The script."""
        if not self.accelerator_type or not self.zone:
            raise UserError("say what and where: --accelerator_type=v6e-16 --zone=us-east5-b")
        chip = self.accelerator_type.rpartition("-")[0]
        runtime = self.runtime_version or RUNTIMES.get(chip)
        if runtime is None:
            raise UserError(
                f"no runtime is known for {self.accelerator_type!r} (known: {', '.join(RUNTIMES)}"
                "); say --runtime_version=NAME"
            )
        if not job.workdir.startswith("/"):
            raise UserError(
                "--on=tpu-vm keeps runs where all workers see them, and the machines go away: give "
                "the path of a file system that --setup mounts there, for instance "
                f"--workdir=/mnt/runs/a, not {job.workdir}"
            )
        check_clone("tpu-vm", job)
        many = len(job.runs) > 1
        runs = [
            (
                f"{job.name}-{index}" if many else job.name,
                quoted([f"cd cnn && {quoted(run.command(REMOTE_PYTHON))}"]),
            )
            for index, run in enumerate(job.runs)
        ]
        at = [f"--zone={self.zone}"] + ([f"--project={self.project}"] if self.project else [])
        script = render(
            _TEMPLATE,
            at=quoted(at),
            accelerator_type=quoted([self.accelerator_type]),
            runtime_version=quoted([runtime]),
            spot=self.spot,
            install=quoted(["\n".join(["set -e", "cd cnn", *install_commands("tpu", self.setup)])]),
            runs=runs,
            poll_seconds=_POLL_SECONDS,
            max_restarts=job.max_restarts,
        )
        return TpuVmPlan(script)


@dataclasses.dataclass(frozen=True)
class TpuVmPlan:
    """A script of gcloud commands."""

    text: str

    def submit(self) -> int:
        """Becomes the script, which on Ctrl-C has time to give the slice back."""
        find_program("gcloud", "tpu-vm", "install the Google Cloud CLI, then gcloud auth login")
        os.execvp("bash", ["bash", "-c", self.text])
