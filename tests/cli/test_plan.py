"""`cnn plan` as a user calls it, without the TPU's compiler."""

import importlib.util
import json
import pathlib

import jax
import pytest

from cnn.__main__ import main
from cnn.plan import tpu
from cnn.plan.costs import Costs, Memory, OutOfMemory

ROOT = pathlib.Path(__file__).parents[2]
LENET = ["plan", f"--config={ROOT / 'configs/mnist5k/lenet5.py'}"]


@pytest.fixture
def compiler(monkeypatch):
    """One that takes 1 GiB for each example and gives up above 32."""

    def compile_step(step, devices, num_chips):
        size = step.experiment.config["loader"]["batch_size"]
        if size > 32:
            raise OutOfMemory(size * 2**30)
        return Costs(Memory(0, size * 2**30, 0), 1e12, 1e9, {}, 1, is_estimate=False)

    monkeypatch.setattr(tpu, "devices", lambda topology: jax.devices()[: topology.num_chips])
    monkeypatch.setattr(tpu, "compile_step", compile_step)


def test_a_card_is_planned_for_and_the_answer_is_left_as_json(tmp_path, capsys):
    path = tmp_path / "new" / "plan.json"
    assert main([*LENET, "--topology=h100:8", "--price=2", f"--json={path}"]) == 0
    shown = capsys.readouterr().out
    assert "61,706 parameters" in shown
    assert "upper bounds" in shown
    written = json.loads(path.read_text())
    (plan,) = written["plans"]
    assert plan["num_chips"] == 8
    assert plan["num_steps"] == 50 * (4000 // 64)
    assert plan["usd_per_chip_hour"] == 2
    assert plan["is_cheapest"] and plan["is_estimate"]
    assert written["about"]["versions"]["jax"] == jax.__version__


def test_what_does_not_fit_ends_with_3_and_the_largest_that_does(compiler, capsys):
    assert main([*LENET, "--topology=v5e:2x2"]) == 3
    shown = capsys.readouterr().out
    assert "does not fit (the compiler refused)" in shown
    assert "largest batch  16" in shown


def test_a_sweep_marks_the_cheapest_and_keeps_going_where_one_is_refused(compiler, capsys):
    sweep = "--sweep=topology=v5e:2x2,v6e:2x2;loader.batch_size=6,8,64"
    assert main([*LENET, sweep]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = [words[2] for words in map(str.split, lines) if words[:1] == ["*"] and ":" in words[1]]
    assert marked == ["8"]
    assert sum("does not divide over 4 devices" in line for line in lines) == 2
    assert sum("does not fit" in line for line in lines) == 2


def test_a_deadline_that_nothing_meets_ends_with_3(compiler, capsys):
    words = ["--sweep=topology=v5e:2x2;loader.batch_size=8", "--deadline_hours=0"]
    assert main([*LENET, *words]) == 3
    assert "nothing fits and is in time" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--topology=v5:4x4"], "unknown chip 'v5'"),
        (["--topology=v5e:4by4"], "write CHIP:SHAPE"),
        ([], "say where: --topology=v5e:4x4"),
        (["--topology=h100:3"], "nearest"),
        (["--topology=h100:8", "--price=-1"], "--price must be at least 0"),
        (["--topology=h100:8", "--config.data.source=folder"], "--num_train=N"),
        (["--topology=h100:8", "--sweep=topology"], "KEY=VALUE"),
        (["--topology=h100:8", "--config.loader.batchsize=1"], "did you mean 'batch_size'"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(words, reason, capsys):
    assert main([*LENET, *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert reason in error[0]


def test_a_missing_config_is_one_line(capsys):
    assert main(["plan", "--config=configs/nothing.py", "--topology=v5e:4x4"]) == 2
    assert "no config file" in capsys.readouterr().err


def test_without_the_compiler_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*LENET, "--topology=v5e:2x2"]) == 2
    assert "libtpu, which is not installed" in capsys.readouterr().err
