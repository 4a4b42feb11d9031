"""Trainings of a comparison: done once, gone on with, stopped."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cnn.cli import train as command
from cnn.compare import budget, measure, runner, settings
from cnn.errors import UserError
from cnn.report import evaluation
from cnn.train import Outcome
from tests import child
from tests.compare import small

ROOT = pathlib.Path(__file__).parents[2]


def refuse(*_):
    raise AssertionError("something was trained")


def job(workdir, carry_out=command.carry_out, **changes):
    comparison = settings.read(small.config(**changes))
    groups = budget.plan(comparison, refuse)
    made = runner.Job(comparison, workdir, lambda: None, carry_out, lambda text: None)
    return made, groups


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("comparison")
    made, groups = job(workdir)
    assert runner.run_groups(made, groups, processes=1) == 0
    return workdir


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def test_each_run_is_an_ordinary_training(done):
    for model in ("cnn", "vit"):
        for seed in (0, 1):
            run = done / "runs" / model / "1" / f"seed{seed}"
            assert json.loads((run / "config.json").read_text())["seed"] == seed
            assert evaluation.load(run).step == 8
            assert (run / "report.html").exists()
            assert "step 8: accuracy" in (run / "train.log").read_text()
            found = measure.load_measured(run)
            accuracy = (found.predictions.predicted == found.predictions.label).mean()
            assert accuracy == pytest.approx(evaluation.load(run).metrics["accuracy"])
        assert json.loads((run.parent / "costs.json").read_text())["step_bytes"] > 0
    seeds = [done / "runs/cnn/1" / f"seed{seed}" for seed in (0, 1)]
    assert evaluation.load(seeds[0]).metrics != evaluation.load(seeds[1]).metrics


def test_what_is_done_is_not_run_again(done):
    made, groups = job(done, refuse)
    assert runner.run_groups(made, groups, processes=1) == 0


def test_other_conditions_measure_again_and_train_nothing(copy):
    made, groups = job(copy, robustness={"shifts_px": [1, 2]})
    before = (copy / "runs/cnn/1/seed0/metrics.jsonl").read_bytes()
    assert runner.run_groups(made, groups, processes=1) == 0
    found = measure.load_measured(copy / "runs/cnn/1/seed0")
    assert [amount for (kind, amount), _ in found.robustness if kind == "shift"] == [1.0, 2.0]
    assert (copy / "runs/cnn/1/seed0/metrics.jsonl").read_bytes() == before


def test_more_seeds_and_shares_add_theirs(copy):
    trained = []

    def note(experiment, directory):
        trained.append(directory.relative_to(copy / "runs").as_posix())
        return command.carry_out(experiment, directory)

    made, groups = job(copy, note, seeds=[0, 1, 2])
    assert runner.run_groups(made, groups[:1], processes=1) == 0
    assert trained == ["cnn/1/seed2"]


def test_a_run_that_was_cut_short_goes_on_to_the_same_numbers(copy, done):
    run = copy / "runs/cnn/1/seed1"
    for name in ("checkpoints/8", "evaluation.json", "report.html", "measured.json"):
        with contextlib.suppress(FileNotFoundError):
            (run / name).unlink() if (run / name).is_file() else shutil.rmtree(run / name)
    trained = []

    def note(experiment, directory):
        trained.append(directory)
        return command.carry_out(experiment, directory)

    made, groups = job(copy, note)
    assert runner.run_groups(made, groups, processes=1) == 0
    assert trained == [run]
    assert "resuming after step 4 of 8" in (run / "train.log").read_text()
    for name in (measure.MEASURED, measure.PREDICTIONS):
        assert (run / name).read_bytes() == (done / "runs/cnn/1/seed1" / name).read_bytes()


def test_another_budget_is_refused(done):
    made, groups = job(done, budget={"amount": 9})
    with pytest.raises(UserError, match=r"seed0 holds a run of 8 steps, and .* gives cnn 9; use"):
        runner.check_lengths(made, groups)
    made, groups = job(done)
    runner.check_lengths(made, groups)


def test_a_signal_ends_it_at_once(tmp_path):
    called = []

    def stopped(experiment, directory):
        called.append(directory)
        return Outcome(None, 3, signal.SIGTERM)

    made, groups = job(tmp_path, stopped)
    assert runner.run_groups(made, groups, processes=1) == 128 + signal.SIGTERM
    assert len(called) == 1


@pytest.mark.usefixtures("unchecked")
def test_a_child_that_is_stopped_outside_of_a_training_ends_its_work_and_not_the_pool(monkeypatch):
    """As while it compiles: by the signal's own action the process would die at once."""

    def work(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        pytest.fail("the signal was to end it")

    monkeypatch.setattr(runner, "run_group", work)
    before = signal.signal(signal.SIGTERM, runner._on_sigterm)
    try:
        assert runner._work(None, None) == 143
        assert runner._work(None, None) == 0, "nothing more is started"
    finally:
        signal.signal(signal.SIGTERM, before)
        runner._ended.clear()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_processes_are_stopped_together_and_go_on(tmp_path):
    workdir = tmp_path / "cmp"
    changes = {"compare__budget__amount": 600, "compare__evaluations": 20}
    changes |= {"compare__seeds": "(0,)", "train__checkpoint_every_steps": 1000}
    words = small.words(tmp_path, workdir, **changes)
    words = [sys.executable, "-m", "cnn", *words, "--processes=2"]
    environment = child.environment(PYTHONPATH=str(ROOT))
    logs = [workdir / f"runs/{model}/1/seed0/train.log" for model in ("cnn", "vit")]
    started = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(log.exists() and "\nstep " in log.read_text() for log in logs))
        started.send_signal(signal.SIGTERM)
        shown, _ = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 143, shown
    assert "stopped by signal 15; the same command goes on" in shown
    stopped = [log for log in logs if "the checkpoint is saved" in log.read_text()]
    # One was in the middle of its steps; the other may have been compiling.
    assert stopped
    subprocess.run(words, cwd=ROOT, env=environment, check=True, timeout=240)
    assert any("resuming after step" in log.read_text() for log in stopped)
    assert (workdir / "report.html").exists()
