"""`cnn launch` as a user calls it."""

import pathlib

import pytest

from cnn.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
LENET = ["launch", f"--config={ROOT / 'configs/mnist5k/lenet5.py'}"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(words, capsys):
    assert main([*LENET, "--workdir=runs/a", *words, "--dry_run"]) == 0
    return capsys.readouterr().out


def test_a_dry_run_prints_and_does_nothing(tmp_path, capsys):
    text = shown(["--on=local", "--config.seed=3", "--deterministic"], capsys)
    assert text.count("\n") == 1
    assert f"-m cnn train {LENET[1]} --config.seed=3 --deterministic --workdir=runs/a " in text
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_all_combinations_over_the_overrides(capsys):
    sweep = "--sweep=optimizer.learning_rate=1e-3,3e-3;seed=0,1,2"
    lines = shown(["--on=local", "--config.loader.batch_size=32", sweep], capsys).splitlines()
    assert len(lines) == 6
    assert "--config.loader.batch_size=32 --config.optimizer.learning_rate=3e-3" in lines[5]
    assert "--workdir=runs/a/optimizer.learning_rate=3e-3,seed=2 " in lines[5]


def test_flags_reach_their_engine(capsys):
    flags = ["--nodes=2", "--gpus_per_node=4", "--sbatch=--qos=high", "--sbatch=--x=y"]
    text = shown(["--on=slurm", *flags, "--time=1:00:00", "--max_restarts=7"], capsys)
    for line in ("nodes=2", "gpus-per-node=4", "qos=high", "x=y", "time=1:00:00"):
        assert f"#SBATCH --{line}\n" in text
    assert "-ge 7 ]" in text
    assert "#SBATCH --job-name=cnn-lenet5\n" in text
    assert "#SBATCH --job-name=mine\n" in shown(["--on=slurm", "--name=mine"], capsys)


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--on=slrum"], "unknown engine 'slrum'; did you mean 'slurm'"),
        (["--on=local", "--partition=x"], "--partition is a flag of --on=slurm, not of --on=local"),
        (["--on=slurm", "--spot"], "--spot is a flag of --on=skypilot, tpu-vm, not of --on=slurm"),
        (["--on=local", "--max_restarts=-1"], "--max_restarts must be at least 0"),
        (["--on=slurm", "--name=A b"], "--name takes small letters"),
        (["--on=local", "--sweep=seed"], "KEY=VALUE"),
        (["--on=local", "--sweep=sed=1"], "did you mean 'seed'"),
        (["--on=local", "--sweep=seed=1,x"], "cannot take --config.seed=x"),
        (["--on=local", "--sweep=seed=1,1"], "the same workdir"),
        (["--on=local", "--config.loader.batchsize=1"], "did you mean 'batch_size'"),
        (["--on=tpu-vm", "--zone=a"], "--accelerator_type"),
        (["--on=skypilot", "--accelerators=H100:8"], "not runs/a"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(words, reason, tmp_path, capsys):
    assert main([*LENET, "--workdir=runs/a", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert reason in error[0]
    assert not list(tmp_path.iterdir())
