"""Several processes, for real: the numbers of one, and what they do when one is ended."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from cnn.__main__ import main
from cnn.parallel import hosts
from cnn.report.log import read_metrics
from tests import child

ROOT = pathlib.Path(__file__).parents[2]
NUM_STEPS = 24
WORDS = [
    "train",
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=resnet_test",
    "--config.preprocess.image_size=16",
    "--config.loader.batch_size=32",
    "--config.schedule.warmup_epochs=0",
    "--config.train.log_every_steps=1",
    "--config.train.checkpoint_every_steps=6",
]


def words(directory, num_steps):
    return [*WORDS, f"--config.train.num_steps={num_steps}", f"--workdir={directory}"]


# `cnn` that takes a process for lost after 10 s instead of 20.
IMPATIENT = (
    "-c",
    "import sys\n"
    "from cnn.__main__ import main\n"
    "from cnn.parallel import hosts\n"
    "hosts.TIMEOUT_SECONDS = 10.0\n"
    "sys.exit(main())",
)


def start(directory, num_steps, *overrides, program=("-m", "cnn")):
    """Two processes with four devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = [f"--coordinator_address={address}", "--num_processes=2"]
    command = [sys.executable, *program, *words(directory, num_steps), *overrides, *flags]
    return [
        subprocess.Popen(
            [*command, f"--process_id={index}"],
            cwd=ROOT,
            env=child.environment(JAX_NUM_CPU_DEVICES="4"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def end(processes, timeout=300):
    """(exit codes, what they said)."""
    said = [process.communicate(timeout=timeout)[0] for process in processes]
    return [process.returncode for process in processes], said


def wait_for_step(processes, directory, step):
    deadline, log = time.monotonic() + 240, directory / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < step:
        assert all(process.poll() is None for process in processes), end(processes)
        assert time.monotonic() < deadline, f"no step {step} in time"
        time.sleep(0.01)


def train_losses(directory):
    return [line["train/loss"] for line in read_metrics(directory) if "train/loss" in line]


def same_lines(directory):
    return [
        {name: value for name, value in line.items() if not name.startswith("perf/")}
        for line in read_metrics(directory)
    ]


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The command would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Two processes, the state cut over all devices of both."""
    directory = tmp_path_factory.mktemp("unbroken")
    codes, said = end(start(directory, NUM_STEPS, *CUT))
    assert codes == [0, 0], said
    return directory, said


CUT = ("--config.parallel.mesh=fsdp:8", "--config.parallel.shard_min_size=64")


def test_two_processes_have_the_losses_of_one_device(unbroken, tmp_path):
    directory, said = unbroken
    assert main([*words(tmp_path, NUM_STEPS), "--config.parallel.num_devices=1"]) == 0
    found, expected = train_losses(directory), train_losses(tmp_path)
    np.testing.assert_allclose(found[:5], expected[:5], rtol=1e-5)
    assert len(found) == NUM_STEPS
    assert np.ptp(expected[:5]) > 1e-3
    # Every example of the split once, and one process alone speaks and writes.
    one, two = (json.loads((d / "evaluation.json").read_text()) for d in (tmp_path, directory))
    assert one["num_examples"] == two["num_examples"] == 1000
    assert "over 8 cpu of 2 processes" in said[0]
    assert "report: " in said[0]
    assert not [line for line in said[1].splitlines() if "step" in line or "report" in line]


@pytest.mark.slow
def test_preempted_then_killed_the_run_is_the_unbroken_one(unbroken, tmp_path):
    directory = tmp_path / "run"
    processes = start(directory, NUM_STEPS, *CUT)
    wait_for_step(processes, directory, 4)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = end(processes)
    assert codes == [128 + signal.SIGTERM] * 2, said
    (stopped_at,) = (int(path.name) for path in (directory / "checkpoints").iterdir())
    assert f"after step {stopped_at} of {NUM_STEPS}; the checkpoint is saved" in said[0]
    assert train_losses(directory) == train_losses(unbroken[0])[:stopped_at]
    # Over other devices: one process goes on with what two left.
    moved = tmp_path / "moved"
    shutil.copytree(directory, moved)
    assert main([*words(moved, NUM_STEPS), "--config.parallel.mesh=data:4,fsdp:2"]) == 0
    early = slice(stopped_at, stopped_at + 5)
    expected = train_losses(unbroken[0])
    np.testing.assert_allclose(train_losses(moved)[early], expected[early], rtol=1e-5)

    processes = start(directory, NUM_STEPS, *CUT, program=IMPATIENT)
    wait_for_step(processes, directory, stopped_at + 2)
    processes[1].kill()
    began = time.monotonic()
    codes, said = end(processes, timeout=60)
    assert codes == [hosts.LOST, -signal.SIGKILL], said
    assert time.monotonic() - began < 60
    assert f"process 1 on host {socket.gethostname()} gave no sign of life for 10 s" in said[0]

    codes, said = end(start(directory, NUM_STEPS, *CUT))
    assert codes == [0, 0], said
    assert "resuming after step" in said[0]
    assert same_lines(directory) == same_lines(unbroken[0])


@pytest.mark.slow
def test_where_the_leader_is_killed_the_other_ends_and_names_its_host(tmp_path):
    processes = start(tmp_path, 100_000, *CUT)
    wait_for_step(processes, tmp_path, 2)
    processes[0].kill()
    codes, said = end(processes, timeout=60)
    assert codes[1] != 0
    assert f"that is process 0 on host {socket.gethostname()}" in said[1]


def connected(*arguments, **environment):
    """What `connect` says in a process that has used no device yet; nothing where it is alone."""
    code = (
        "import jax\n"
        "from cnn.errors import UserError\n"
        "from cnn.parallel import hosts\n"
        "try:\n"
        f"    hosts.connect(*{arguments!r})\n"
        "    assert not jax.distributed.is_initialized()\n"
        "    assert hosts.leads()\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    env = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("127.0.0.1:1", 2, None), "process id of the current process must be defined"),
        (("127.0.0.1:1", None, 0), "Number of processes must be defined"),
        ((None, 2, 0), "coordinator_address should be defined"),
        (("127.0.0.1:1", 2, 2), "Got process_id=2, num_processes=2"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(arguments, reason):
    said = connected(*arguments)
    assert said.startswith("cannot join the other processes: ")
    assert reason in said
    assert "give --coordinator_address=HOST:PORT, --num_processes and --process_id" in said
    assert said.count("\n") == 1


def test_one_process_looks_for_no_others():
    assert connected(None, 1, None) == ""
    assert connected() == ""
    # An allocation of one task; JAX would give it one of its GPUs only.
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "n1", "SLURM_PROCID": "0"}
    assert connected(**step, SLURM_LOCALID="0", SLURM_NTASKS="1") == ""
