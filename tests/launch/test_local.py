"""Real processes, but for the last test not of JAX."""

import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from cnn.checkpoint import Checkpoints
from cnn.errors import UserError
from cnn.launch import Job, Local, local
from cnn.launch.job import make_runs
from cnn.report import sessions
from tests import child

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=resnet_test",
    "--config.preprocess.image_size=16",
    "--config.loader.batch_size=32",
    "--config.schedule.warmup_epochs=0",
    "--config.train.log_every_steps=1",
    "--config.train.checkpoint_every_steps=30",
    "--config.train.num_steps=60",
]


def plan(engine, workdir="runs/a", max_restarts=2, points=({},)):
    return engine.plan(Job("a", workdir, make_runs(workdir, ["train"], points), max_restarts))


def scripts(tmp_path, *bodies, max_restarts=2):
    """A plan of one run whose processes are Python scripts; `n` is how often one was started."""
    (run,) = make_runs(str(tmp_path / "run"), ["train"], [{}])
    count = (
        "import pathlib, signal, sys, time\n"
        "file = pathlib.Path({!r}); n = len(file.read_text()) if file.exists() else 0\n"
        "file.write_text('x' * (n + 1))\n"
    )
    processes = [
        local.Process(
            [sys.executable, "-c", count.format(str(tmp_path / f"count{i}")) + body],
            {},
            tmp_path / "run" / "logs" / f"{i}.log",
        )
        for i, body in enumerate(bodies)
    ]
    return local.LocalPlan((local.Group(run, processes),), max_restarts)


def starts(tmp_path):
    return [len(path.read_text()) for path in sorted(tmp_path.glob("count*"))]


def test_processes_meet_on_the_loopback_with_devices_of_their_own():
    (group,) = plan(Local(processes=2, devices=4)).groups
    first, second = group.processes
    assert first.words[1:4] == ["-m", "cnn", "train"]
    assert first.words[-2:] == ["--num_processes=2", "--process_id=0"]
    assert second.words[-1] == "--process_id=1"
    (address,) = {word for word in (*first.words, *second.words) if "coordinator" in word}
    assert address.startswith("--coordinator_address=127.0.0.1:")
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(address.rpartition(":")[2])))
    assert first.environment == {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}
    assert second.log == pathlib.Path("runs/a/logs/1.log")


def test_gpus_are_parted():
    (group,) = plan(Local(processes=2, devices=2, platform="cuda")).groups
    visible = [process.environment for process in group.processes]
    assert visible == [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]


def test_one_process_alone_is_left_as_it_is():
    (group,) = plan(Local()).groups
    (process,) = group.processes
    assert not process.environment
    assert process.words[-1] == "--workdir=runs/a"


def test_the_text_is_what_a_shell_would_run(tmp_path):
    points = ({"seed": "0"}, {"seed": "1"})
    found = plan(Local(processes=2, devices=2), str(tmp_path / "a b"), points=points)
    lines = found.text.splitlines()
    assert len(lines) == 4
    assert [line.endswith(" &") for line in lines] == [True, False, True, False]
    words = shlex.split(lines[3])
    process = found.groups[1].processes[1]
    assert words[2:-3] == list(process.words)
    assert words[:2] == ["JAX_PLATFORMS=cpu", "JAX_NUM_CPU_DEVICES=2"]
    assert words[-3:] == [">>", str(process.log), "2>&1"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "engine, reason",
    [
        (Local(processes=0), "--processes must be at least 1"),
        (Local(devices=-1), "--devices at least 0"),
        (Local(processes=2), "how many --devices"),
        (Local(platform="tpu"), "unknown value of --platform 'tpu'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(engine, reason):
    with pytest.raises(UserError, match=reason):
        plan(engine)


@pytest.mark.parametrize(
    "codes, expected",
    [
        ([0, 0], 0),
        ([143, 143], 143),
        ([75, -9], 75),
        ([-9, 134], 134),
        ([75, 1], 1),
        ([2, 75], 2),
        ([-9], 137),
        ([0, -11], 139),
    ],
    ids=str,
)
def test_codes_of_several_processes_are_one(codes, expected):
    assert local.exit_code(codes) == expected


def test_a_run_is_started_again_until_it_has_ended(tmp_path):
    body = "print('start', n); sys.exit([143, 75, 0][n])"
    assert scripts(tmp_path, body, body).submit() == 0
    assert starts(tmp_path) == [3, 3]
    assert (tmp_path / "run/logs/1.log").read_text() == "start 0\nstart 1\nstart 2\n"
    assert (tmp_path / "run/launch.json").exists()


def test_it_is_not_started_more_often_than_that(tmp_path, capsys):
    assert scripts(tmp_path, "sys.exit(143)", max_restarts=1).submit() == 143
    assert starts(tmp_path) == [2]
    assert "restart 1 of 1" in capsys.readouterr().out


def test_a_mistake_is_not_repeated_and_the_others_are_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.2)
    began = time.monotonic()
    assert scripts(tmp_path, "time.sleep(60)", "sys.exit(2)").submit() == 2
    assert time.monotonic() - began < 30
    assert starts(tmp_path) == [1, 1]


def test_a_sweep_goes_on_past_a_failure_and_says_so(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = scripts(tmp_path / "a", "sys.exit(1)"), scripts(tmp_path / "b", "")
    both = local.LocalPlan((*first.groups, *second.groups), 2)
    assert both.submit() == 1
    assert starts(tmp_path / "b") == [1]


def test_sigterm_is_passed_on_and_ends_it_all(tmp_path):
    body = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"pathlib.Path({str(tmp_path)!r}, 'ready').touch()\n"
        "time.sleep(60)"
    )

    def stop():
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopper = threading.Thread(target=stop)
    stopper.start()
    plan = scripts(tmp_path, body)
    assert local.LocalPlan((*plan.groups, *plan.groups), 5).submit() == 143
    stopper.join()
    assert starts(tmp_path) == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def launch(directory):
    """Two processes with two devices each."""
    engine = ["--on=local", "--processes=2", "--devices=2"]
    command = [sys.executable, "-m", "cnn", "launch", *engine, *TINY, f"--workdir={directory}"]
    return subprocess.Popen(
        command, cwd=ROOT, env=child.environment(), stdout=subprocess.PIPE, text=True
    )


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
    assert step == 60
    return jax.tree.leaves(carry)


@pytest.mark.slow
def test_a_preempted_run_of_two_processes_ends_as_the_unbroken_one(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    process = launch(unbroken)
    assert process.communicate(timeout=240)[0].endswith("done\n"), process.returncode
    process = launch(broken)
    log, deadline = broken / "metrics.jsonl", time.monotonic() + 240
    while not log.exists() or log.read_bytes().count(b"\n") < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(sessions.read(broken)[0]["pid"], signal.SIGTERM)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert "ended with 143, restart 1 of 20" in said
    ends = [(one["code"], one["step"]) for one in sessions.read(broken)]
    assert ends[0][0] == 143 and 5 <= ends[0][1] < 60
    assert ends[1:] == [(0, 60)]
    assert f"resuming after step {ends[0][1]} of 60" in (broken / "logs/0.log").read_text()
    for ours, theirs in zip(final_arrays(broken), final_arrays(unbroken), strict=True):
        np.testing.assert_array_equal(ours, theirs)
