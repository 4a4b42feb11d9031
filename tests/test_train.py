"""The loop: resumed runs equal unbroken ones, cadences, bad losses, the same over devices."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import rich.console

from cnn import train
from cnn.errors import UserError
from cnn.report.console import Console
from cnn.report.log import read_metrics
from tests import child, tiny

ROOT = pathlib.Path(__file__).parents[1]


def run(directory, **sections):
    """Trains a tiny experiment in `directory`; (outcome, experiment)."""
    experiment = tiny.experiment(**sections)
    screen = rich.console.Console(file=io.StringIO(), width=200)
    loop = experiment.loop
    console = Console(
        loop.num_steps,
        experiment.steps_per_epoch,
        log_every_steps=loop.log_every_steps,
        screen=screen,
    )
    with console:
        return train.train(experiment, directory, console), experiment


def lines(directory):
    """Metric lines without what differs between equal runs."""
    return [
        {name: value for name, value in line.items() if not name.startswith("perf/")}
        for line in read_metrics(directory)
    ]


def saved(directory, experiment=None):
    """The newest checkpoint as NumPy arrays by path."""
    experiment = experiment or tiny.experiment()
    carry = train.blank_carry(experiment)
    with train.open_checkpoints(experiment, directory, lambda _: None) as checkpoints:
        step, carry = train.restore(experiment, checkpoints, carry)
    leaves = jax.tree_util.tree_flatten_with_path(jax.device_get(carry))[0]
    return step, {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def assert_same_checkpoint(left, right):
    left_step, left_arrays = left
    right_step, right_arrays = right
    assert left_step == right_step
    assert left_arrays.keys() == right_arrays.keys()
    for path, array in left_arrays.items():
        np.testing.assert_array_equal(array, right_arrays[path], err_msg=path)


COMMAND = [
    sys.executable,
    "-m",
    "cnn",
    "train",
    "--config=configs/mnist5k/lenet5.py",
    "--config.model.name=resnet_test",
    "--config.ema.decay=0.99",
    "--config.optimizer.name=adamw",
    "--config.optimizer.learning_rate=0.002",
    "--config.regularization.weight_decay=0.01",
    "--config.regularization.l2=0.0",
    "--config.loader.batch_size=32",
    "--config.train.num_steps=150",
    "--config.train.log_every_steps=3",
    "--config.train.eval_every_steps=50",
    "--config.train.checkpoint_every_steps=11",
]


def start_child(directory, *overrides):
    return subprocess.Popen(
        [*COMMAND, f"--workdir={directory}", *overrides],
        cwd=ROOT,
        env=child.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def last_step(directory):
    """The last step in the log, however the file is being written at the moment."""
    log = directory / "metrics.jsonl"
    complete = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    return json.loads(complete[-1])["step"] if complete else 0


def wait_for_step(child, directory, step):
    deadline = time.monotonic() + 240
    while last_step(directory) < step:
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < deadline, f"no step {step} in time"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unbroken")
    child = start_child(directory)
    output = child.communicate()[0]
    assert child.returncode == 0, output
    return directory


def test_run_killed_three_times_is_the_unbroken_run_bit_for_bit(unbroken, tmp_path):
    draw = random.Random(20261122)
    for num_workers, (low, high) in enumerate(((1, 40), (40, 80), (80, 120))):
        child = start_child(tmp_path, f"--config.loader.num_workers={num_workers}")
        wait_for_step(child, tmp_path, draw.randint(low, high))
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert last_step(tmp_path) < 150
    child = start_child(tmp_path)
    output = child.communicate()[0]
    assert child.returncode == 0, output
    assert "resuming after step" in output
    assert lines(tmp_path) == lines(unbroken)
    assert_same_checkpoint(saved(tmp_path), saved(unbroken))


def test_sigterm_saves_and_the_run_goes_on_as_if_unbroken(unbroken, tmp_path):
    child = start_child(tmp_path)
    wait_for_step(child, tmp_path, 70)
    child.send_signal(signal.SIGTERM)
    output = child.communicate()[0]
    assert child.returncode == 128 + signal.SIGTERM, output
    assert "the checkpoint is saved" in output
    stopped_at = saved(tmp_path)[0]
    assert f"after step {stopped_at} " in output
    child = start_child(tmp_path)
    output = child.communicate()[0]
    assert child.returncode == 0, output
    assert f"resuming after step {stopped_at} " in output
    assert lines(tmp_path) == lines(unbroken)
    assert_same_checkpoint(saved(tmp_path), saved(unbroken))


def test_finished_run_says_so(unbroken):
    before = (unbroken / "metrics.jsonl").read_bytes()
    child = start_child(unbroken)
    output = child.communicate()[0]
    assert child.returncode == 0
    assert "is finished: step 150, nothing to do" in output
    assert (unbroken / "metrics.jsonl").read_bytes() == before


def test_log_has_every_line_that_is_due(tmp_path):
    outcome, experiment = run(tmp_path, train={"num_steps": 7, "eval_every_steps": 4})
    assert (outcome.step, outcome.signal) == (7, None)
    logged = lines(tmp_path)
    assert [line["step"] for line in logged if "train/loss" in line] == [2, 4, 6, 7]
    assert [line["step"] for line in logged if "eval/loss" in line] == [4, 7]
    first = logged[0]
    assert first["epoch"] == pytest.approx(2 / experiment.steps_per_epoch)
    # optax takes 1 - (1 - 1 / n) in float32, which costs the digits that are allowed here.
    assert first["train/learning_rate"] == pytest.approx(
        2e-3 * 1 / experiment.steps_per_epoch, rel=1e-5
    )


def test_share_of_waiting_for_data_is_in_the_lines_and_on_the_screen(tmp_path):
    screen = io.StringIO()
    experiment = tiny.experiment(train={"num_steps": 6, "log_every_steps": 2})
    terminal = rich.console.Console(file=screen, width=200)
    with Console(6, experiment.steps_per_epoch, log_every_steps=2, screen=terminal) as console:
        train.train(experiment, tmp_path, console)
    shares = [line["perf/data_wait"] for line in read_metrics(tmp_path) if "train/loss" in line]
    assert len(shares) == 3
    assert all(0 <= share < 1 for share in shares)
    assert "data wait 0." in screen.getvalue()


def test_steps_until_something_is_due():
    loop = tiny.experiment().loop._replace(
        num_steps=20, log_every_steps=6, eval_every_steps=9, checkpoint_every_steps=100
    )
    found = [train.steps_until_due(step, loop) for step in (0, 5, 6, 8, 9, 18, 19)]
    assert found == [6, 1, 3, 1, 3, 2, 1]


def test_line_is_the_mean_of_its_steps(tmp_path):
    run(tmp_path / "every", train={"num_steps": 4, "log_every_steps": 1})
    run(tmp_path / "pairs", train={"num_steps": 4, "log_every_steps": 2})
    every = [line["train/loss"] for line in lines(tmp_path / "every") if "train/loss" in line]
    pairs = [line["train/loss"] for line in lines(tmp_path / "pairs") if "train/loss" in line]
    np.testing.assert_allclose(pairs, np.reshape(every, (2, 2)).mean(axis=1), rtol=1e-6)


def test_sizes_that_grow_compile_once_each_and_resume_in_the_middle(tmp_path):
    growing = {
        "sampling": {"fraction": 0.0175},  # 70 examples: two steps an epoch
        "by_epoch": {"sizes_px": [16, 20, 28], "from_epochs": [0, 1, 2]},
    }
    _, experiment = run(tmp_path / "whole", **growing)
    assert experiment.steps_per_epoch == 2
    for num_steps in (3, 6):
        cut = {"num_steps": num_steps, "checkpoint_every_steps": 3}
        outcome, _ = run(tmp_path / "cut", **growing, train=cut)
        assert outcome.step == num_steps
    whole, cut = lines(tmp_path / "whole"), lines(tmp_path / "cut")
    # The first part ended with a line and an evaluation of its own.
    assert [line for line in cut if line["step"] in (2, 6)] == [
        line for line in whole if line["step"] in (2, 6)
    ]
    assert_same_checkpoint(
        saved(tmp_path / "cut", experiment), saved(tmp_path / "whole", experiment)
    )


def test_a_step_is_compiled_once_for_each_size(tmp_path):
    experiment = tiny.experiment(
        sampling={"fraction": 0.0175},
        by_epoch={"sizes_px": [16, 20, 28], "from_epochs": [0, 1, 2]},
    )
    traced = []

    def step(state, batch, key):
        traced.append(batch["image"].shape[1])
        return experiment.task.step(state, batch, key)

    step_fn = train.make_step(dataclasses.replace(experiment.task, step=step), experiment.strategy)
    state, tally = train.blank_carry(experiment)
    key = experiment.strategy.share(jax.random.key(0))
    with contextlib.closing(experiment.train_batches(0)) as batches:
        for _ in range(8):
            state, tally = step_fn(state, tally, experiment.strategy.put(next(batches)), key)
    assert traced == [16, 20, 28]


def test_loss_that_is_not_finite_stops_and_names_the_step(tmp_path):
    hopeless = {"name": "sgd", "learning_rate": 1e30}
    with pytest.raises(UserError, match=r"the loss of step 3 is not finite"):
        run(
            tmp_path,
            optimizer=hopeless,
            schedule={"name": "constant", "warmup_epochs": 0.0},
            train={"num_steps": 6, "log_every_steps": 6, "checkpoint_every_steps": 1},
        )
    step, arrays = saved(tmp_path, tiny.experiment(optimizer=hopeless))
    assert step == 2
    assert np.isfinite(arrays[".tally.metrics['loss'].total"])


def losses(directory, **sections):
    run(
        directory,
        **sections,
        train={"num_steps": 5, "log_every_steps": 1, "eval_every_steps": 5},
        schedule={"warmup_epochs": 0.0},
    )
    found = [line["train/loss"] for line in lines(directory) if "train/loss" in line]
    return [*found, lines(directory)[-1]["eval/loss"]]


STRATEGIES = [("mesh", 8), ("pmap", 8), ("pmap", 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return losses(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize(("strategy", "num_devices"), STRATEGIES)
def test_losses_are_those_of_one_device_batch_norm_included(alone, tmp_path, strategy, num_devices):
    shared = losses(tmp_path, parallel={"strategy": strategy, "num_devices": num_devices})
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    assert np.ptp(alone) > 1e-2, "the model must have moved for this to mean anything"


def test_mesh_keeps_the_promise_for_dropout_too(tmp_path):
    dropout = {"model": {"name": "lenet_test", "dropout_rate": 0.5}}
    alone = losses(tmp_path / "alone", **dropout)
    shared = losses(tmp_path / "shared", **dropout, parallel={"num_devices": 8})
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    assert not np.allclose(alone, losses(tmp_path / "without", model={"name": "lenet_test"}))


def test_run_goes_on_over_other_devices(tmp_path):
    run(tmp_path, train={"num_steps": 3})
    moved = tiny.experiment(parallel={"strategy": "pmap", "num_devices": 8})
    step, arrays = saved(tmp_path, moved)
    assert step == 3
    direct = saved(tmp_path)
    kernel = next(path for path in arrays if path.endswith("['kernel']"))
    np.testing.assert_array_equal(arrays[kernel][5], direct[1][kernel])


@pytest.fixture(scope="module")
def trained():
    """A state that is neither blank nor perfect, and what one device finds of it."""
    experiment = tiny.experiment(
        schedule={"name": "constant", "warmup_epochs": 0.0},
        ema={"decay": 0.0},
        optimizer={"learning_rate": 0.02},
        augment={"rotate_degrees": 0.0, "shift_fraction": 0.0, "scale_fraction": 0.0},
    )
    state, tally = train.blank_carry(experiment)
    step = train.make_step(experiment.task, experiment.strategy)
    key = jax.random.key(1)
    batches = experiment.train_batches(0)
    for _ in range(60):
        state, tally = step(state, tally, experiment.strategy.put(next(batches)), key)
    batches.close()
    state = jax.device_get(state)
    return state, _evaluate(state, 250, 1)


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_evaluation_is_one_number(trained, batch_size, num_devices):
    state, expected = trained
    found = _evaluate(state, batch_size, num_devices)
    assert found["eval/accuracy"] == expected["eval/accuracy"]
    assert found["eval/loss"] == pytest.approx(expected["eval/loss"], rel=1e-6)
    assert 0.2 < found["eval/accuracy"] < 0.99


def _evaluate(state, batch_size, num_devices):
    experiment = tiny.experiment(
        ema={"decay": 0.0},
        evaluation={"batch_size": batch_size},
        parallel={"num_devices": num_devices},
    )
    return train.make_evaluate(experiment)(experiment.strategy.unpack(state))


def test_signal_twice_ends_at_once():
    code = (
        "import os, signal, sys, time\n"
        "from cnn.train import Stop\n"
        "with Stop().listening() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.1)\n"
        "    assert stop.signal == signal.SIGTERM\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(5)\n"
        "    sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


class Interrupting(io.StringIO):
    """A screen that asks the run to stop, once, when it shows that step or a later one."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def write(self, text):
        shown = re.match(r"step +(\d+)/", text)
        if shown and int(shown[1]) >= self.step:
            self.step = 10**6
            os.kill(os.getpid(), signal.SIGTERM)
        return super().write(text)


@pytest.mark.slow
def test_thirty_preemptions_lose_no_step(tmp_path):
    sections = {
        "model": {"name": "lenet_test", "dropout_rate": 0.5},
        "train": {"num_steps": 120, "log_every_steps": 1, "checkpoint_every_steps": 1000},
    }
    run(tmp_path / "whole", **sections)
    experiment = tiny.experiment(**sections)
    stopped = []
    for step in [*sorted(random.Random(20261123).sample(range(1, 100), 30)), 10**6]:
        screen = rich.console.Console(file=Interrupting(step), width=200)
        console = Console(120, experiment.steps_per_epoch, log_every_steps=1, screen=screen)
        with console:
            outcome = train.train(experiment, tmp_path / "cut", console)
        stopped.append((outcome.step, outcome.signal))
    assert stopped.pop() == (120, None)
    assert len({step for step, number in stopped if number == signal.SIGTERM}) == 30
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert_same_checkpoint(
        saved(tmp_path / "cut", experiment), saved(tmp_path / "whole", experiment)
    )


def test_another_seed_shares_what_is_compiled_and_nothing_else(tmp_path):
    sections = {"train": {**tiny.OVERRIDES["train"], "num_steps": 2}}
    first, alone = tiny.experiment(**sections), tiny.experiment(**sections, seed=1)
    compiled = []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    def carry_out(experiment, directory):
        with Console(
            2, 125, log_every_steps=2, screen=rich.console.Console(file=io.StringIO())
        ) as c:
            return train.train(experiment, directory, c)

    carry_out(first, tmp_path / "first")
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        carry_out(first.with_seed(1), tmp_path / "second")
        assert not compiled
        carry_out(alone, tmp_path / "alone")
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert lines(tmp_path / "second") == lines(tmp_path / "alone")
    assert lines(tmp_path / "second") != lines(tmp_path / "first")
