"""A batch script for Slurm, an array of jobs for a sweep."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from cnn.errors import UserError
from cnn.launch.job import RESTART_CODES, Job, find_program, quoted, record
from cnn.launch.template import render
from cnn.report import files

SCRIPT = "launch.sbatch"
"""The file in the workdir that is given to `sbatch`."""

_TEMPLATE = "slurm.sbatch.jinja"


@dataclasses.dataclass(frozen=True)
class Slurm:
    """One task a node; requeued after a preemption, at the time limit and where a node is lost.

    Attributes:
        nodes: Of each run.
        partition: None is the cluster's own choice, as for the next four.
        time: The limit, as Slurm writes it: `12:00:00`. A run that reaches it goes on requeued.
        gpus_per_node: 0 asks for none.
        cpus_per_task: 0 is the cluster's choice.
        account: Who pays.
        notice_seconds: How long before the limit a run is told to save and stop.
        sbatch: More options of `sbatch`, each a line: `--qos=high`.
    """

    nodes: int = 1
    partition: str | None = None
    time: str | None = None
    gpus_per_node: int = 0
    cpus_per_task: int = 0
    account: str | None = None
    notice_seconds: int = 120
    sbatch: Sequence[str] = ()

    def plan(self, job: Job) -> SlurmPlan:
        """The script."""
        for name, least in (("nodes", 1), ("gpus_per_node", 0), ("cpus_per_task", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if "://" in job.workdir:
            raise UserError(
                f"--on=slurm keeps runs where all nodes see them, not in {job.workdir}; give a "
                "path of a shared file system"
            )
        is_array = len(job.runs) > 1
        log = (
            pathlib.Path(job.workdir).absolute() / "logs" / ("%A_%a.log" if is_array else "%j.log")
        )
        script = render(
            _TEMPLATE,
            name=job.name,
            directory=pathlib.Path.cwd(),
            log=log,
            nodes=self.nodes,
            notice_seconds=self.notice_seconds,
            lines=self._lines(len(job.runs)),
            gpus_per_node=self.gpus_per_node,
            cpus_per_task=self.cpus_per_task,
            runs=[quoted(run.command(sys.executable)) for run in job.runs],
            restart_codes=RESTART_CODES,
            max_restarts=job.max_restarts,
        )
        return SlurmPlan(job, script, pathlib.Path(job.workdir) / SCRIPT)

    def _lines(self, num_runs: int) -> list[str]:
        named = {
            "array": f"0-{num_runs - 1}" if num_runs > 1 else None,
            "partition": self.partition,
            "time": self.time,
            "gpus-per-node": self.gpus_per_node or None,
            "cpus-per-task": self.cpus_per_task or None,
            "account": self.account,
        }
        lines = [f"--{name}={value}" for name, value in named.items() if value is not None]
        return [*lines, *self.sbatch]


@dataclasses.dataclass(frozen=True)
class SlurmPlan:
    """A script and where it is kept."""

    job: Job
    script: str
    path: pathlib.Path

    @property
    def text(self) -> str:
        """The script, under the command that takes it."""
        return f"# sbatch --parsable {quoted([str(self.path)])}\n{self.script}"

    def submit(self) -> int:
        """Writes the script into the workdir, gives it to `sbatch`, prints the job's number."""
        sbatch = find_program("sbatch", "slurm", "launch from a login node")
        with files.writing(self.path):
            # Slurm writes no log into a directory that is not there.
            (self.path.parent / "logs").mkdir(parents=True, exist_ok=True)
        files.write_atomically(self.path, self.script.encode())
        done = subprocess.run(
            [sbatch, "--parsable", str(self.path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"sbatch refused {self.path}: {' '.join(done.stderr.split())[:300]}")
        number = done.stdout.strip().partition(";")[0]
        for index, run in enumerate(self.job.runs):
            record(run, "slurm", number if len(self.job.runs) == 1 else f"{number}_{index}")
        sys.stdout.write(f"submitted job {number}; logs in {self.path.parent / 'logs'}\n")
        return 0
