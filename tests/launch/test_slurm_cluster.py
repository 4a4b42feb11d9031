"""A training on a real Slurm of two nodes on this machine, where it is installed."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from cnn.checkpoint import Checkpoints
from cnn.report import sessions
from tests import child

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "slurm"
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
NUM_STEPS = 120
TINY = [
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=resnet_test",
    "--config.preprocess.image_size=16",
    "--config.loader.batch_size=32",
    "--config.schedule.warmup_epochs=0",
    "--config.train.log_every_steps=5",
    "--config.train.checkpoint_every_steps=50",
    f"--config.train.num_steps={NUM_STEPS}",
]
MISSING = [
    name
    for name in ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
    if not shutil.which(name, path=PATH)
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no Slurm here: {', '.join(MISSING)} not installed"),
]


@pytest.fixture
def env(tmp_path_factory):
    """The environment of a login node whose nodes have two virtual devices each."""
    directory = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPTS / "start.sh", directory], check=True)
    slurm = {"PATH": PATH, "SLURM_CONF": str(directory / "slurm.conf")}
    yield child.environment(**slurm, JAX_NUM_CPU_DEVICES="2")
    subprocess.run([SCRIPTS / "stop.sh", directory], check=True)


def launch(env, workdir, *flags):
    """The number of the submitted job."""
    command = [sys.executable, "-m", "cnn", "launch", "--on=slurm", "--nodes=2", *TINY, *flags]
    done = subprocess.run(
        [*command, f"--workdir={workdir}"],
        cwd=ROOT,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.removeprefix("submitted job ").partition(";")[0]


def wait(condition, workdir, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        logs = [path.read_text() for path in (workdir / "logs").glob("*.log")]
        assert time.monotonic() < deadline, "\n".join(logs)
        time.sleep(0.05)


def has_left(env, job):
    done = subprocess.run(
        ["squeue", "--noheader", "--jobs", job], env=env, capture_output=True, text=True
    )
    return not done.stdout.strip()


def num_lines(workdir):
    log = workdir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def final_arrays(directory):
    with Checkpoints(
        directory / "checkpoints",
        lambda _: None,
        keep_last=1,
        keep_best=0,
        best_metric="eval/accuracy",
        best_mode="max",
    ) as checkpoints:
        step, carry = checkpoints.restore(None)
    assert step == NUM_STEPS
    return jax.tree.leaves(carry)


def test_a_job_of_two_nodes_outlives_what_may_stop_it(env, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    launch(env, unbroken)
    job = launch(env, broken)
    wait(lambda: num_lines(broken) >= 2, broken)
    subprocess.run(["scontrol", "requeue", job], env=env, check=True)
    wait((broken / "report.html").exists, broken)
    wait((unbroken / "report.html").exists, unbroken)
    wait(lambda: has_left(env, job), broken)
    log = (broken / "logs" / f"{job}.log").read_text()
    first, second = sessions.read(broken)
    assert first["code"] == 143 and 10 <= first["step"] < NUM_STEPS, log
    assert second["code"] == 0
    assert "over 4 cpu of 2 processes" in log
    assert f"resuming after step {first['step']} of {NUM_STEPS}" in log
    assert len(sessions.read(unbroken)) == 1
    for ours, theirs in zip(final_arrays(broken), final_arrays(unbroken), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stops_by_itself_and_is_cancelled(env, tmp_path / "cancelled")


def stops_by_itself_and_is_cancelled(env, workdir):
    job = launch(env, workdir)
    wait(lambda: num_lines(workdir) >= 1, workdir)
    # As at the limit of time: the training is told, the job runs on, and is requeued by its script.
    subprocess.run(["scancel", "--signal=TERM", job], env=env, check=True)
    wait(lambda: len(sessions.read(workdir)) == 2, workdir)
    # What the user has cancelled stays so.
    subprocess.run(["scancel", job], env=env, check=True)
    wait(lambda: has_left(env, job), workdir)
    assert [one["code"] for one in sessions.read(workdir)] == [143, 143]
