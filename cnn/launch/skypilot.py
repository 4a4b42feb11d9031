"""Tasks for SkyPilot: nodes with GPUs or a TPU slice on whichever cloud has them."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import yaml

from cnn.errors import UserError
from cnn.launch.job import (
    REMOTE_PYTHON,
    Job,
    Run,
    check_clone,
    find_program,
    install_commands,
    quoted,
)

MOUNT = "/cnn-runs"
"""Where the bucket of the workdir is on the machines."""

_PORT = 8476
# SkyPilot has no limit for them, so not 134, which may be a fault that comes again each time.
_RECOVER_CODES = (75, 143)
_BUCKETS = ("gs://", "s3://", "r2://")


@dataclasses.dataclass(frozen=True)
class SkyPilot:
    """One managed job a run, which SkyPilot starts again elsewhere when its machines go.

    Attributes:
        accelerators: Of a node: `H100:8`, or a whole slice: `tpu-v6e-16`.
        nodes: Of each run, all alike; a slice of a TPU is one, whatever its hosts.
        infra: `gcp`, `gcp/us-central1`, ...; None leaves the choice to SkyPilot.
        spot: Cheap machines that may be preempted.
        setup: Shell commands before the installation.
    """

    accelerators: str | None = None
    nodes: int = 1
    infra: str | None = None
    spot: bool = False
    setup: str = ""

    def plan(self, job: Job) -> SkyPilotPlan:
        """The tasks, and the command for each."""
        if not self.accelerators:
            raise UserError("say what to take: --accelerators=H100:8, or tpu-v6e-16, ...")
        if self.nodes < 1:
            raise UserError(f"--nodes must be at least 1, got {self.nodes}")
        if not job.workdir.startswith(_BUCKETS):
            raise UserError(
                "--on=skypilot keeps runs in a bucket, since its machines go away: give "
                f"--workdir=gs://BUCKET/PATH (or s3://, r2://), not {job.workdir}"
            )
        check_clone("skypilot", job)
        many = len(job.runs) > 1
        names = [f"{job.name}-{index}" if many else job.name for index in range(len(job.runs))]
        tasks = [self._task(name, run) for name, run in zip(names, job.runs, strict=True)]
        return SkyPilotPlan(tuple(names), tuple(tasks))

    def _task(self, name: str, run: Run) -> str:
        scheme, _, place = run.workdir.partition("://")
        bucket, _, path = place.partition("/")
        is_tpu = (self.accelerators or "").startswith("tpu-")
        resources: dict[str, Any] = {
            "accelerators": self.accelerators,
            "job_recovery": {"recover_on_exit_codes": list(_RECOVER_CODES)},
        }
        if self.infra:
            resources["infra"] = self.infra
        if self.spot:
            resources["use_spot"] = True
        task = {
            "name": name,
            "workdir": ".",
            "num_nodes": self.nodes,
            "resources": resources,
            "file_mounts": {MOUNT: {"source": f"{scheme}://{bucket}", "mode": "MOUNT"}},
            "setup": "\n".join(install_commands("tpu" if is_tpu else "cuda", self.setup)) + "\n",
            "run": self._command(run, f"{MOUNT}/{path}", is_tpu),
        }
        return yaml.dump(task, Dumper=_Dumper, sort_keys=False, width=1000)

    def _command(self, run: Run, workdir: str, is_tpu: bool) -> str:
        words = quoted(run.command(REMOTE_PYTHON, workdir=workdir))
        if is_tpu or self.nodes == 1:
            # The hosts of a slice find each other.
            return f"{words}\n"
        return (
            f"{words} \\\n"
            f'  --coordinator_address="$(head -n1 <<< "$SKYPILOT_NODE_IPS"):{_PORT}" \\\n'
            '  --num_processes="$SKYPILOT_NUM_NODES" --process_id="$SKYPILOT_NODE_RANK"\n'
        )


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


@dataclasses.dataclass(frozen=True)
class SkyPilotPlan:
    """Tasks and their names."""

    names: Sequence[str]
    tasks: Sequence[str]

    @property
    def text(self) -> str:
        """Each task, under the command that takes it."""
        return "---\n".join(
            f"# {quoted(self._words(name, f'{name}.yaml'))}\n{task}"
            for name, task in zip(self.names, self.tasks, strict=True)
        )

    def submit(self) -> int:
        """Gives the tasks to `sky`; the first exit code that is not 0 ends it."""
        find_program("sky", "skypilot", "pip install 'skypilot[gcp]', then sky check")
        with tempfile.TemporaryDirectory() as directory:
            for name, task in zip(self.names, self.tasks, strict=True):
                path = pathlib.Path(directory) / f"{name}.yaml"
                path.write_text(task)
                code = subprocess.run(self._words(name, str(path)), check=False).returncode
                if code:
                    return code
        return 0

    @staticmethod
    def _words(name: str, path: str) -> list[str]:
        return ["sky", "jobs", "launch", "--yes", "--detach-run", f"--name={name}", path]
