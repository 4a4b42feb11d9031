"""What a command prepares before a device is used."""

import json
import os
import subprocess
import sys

import pytest

from cnn import experiment as experiments
from cnn.cli import workdir
from cnn.errors import UserError
from tests import tiny


def test_deterministic_adds_a_flag_that_xla_knows(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    workdir.make_deterministic()
    flags = os.environ["XLA_FLAGS"].split()
    assert flags == ["--xla_cpu_enable_fast_math=false", "--xla_gpu_deterministic_ops=true"]
    # XLA ends a process whose flags it does not know.
    code = "import jax; jax.block_until_ready(jax.numpy.ones(2) + 1)"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=True
    )


def test_a_run_from_before_the_parts_of_recipes_goes_on_and_only_with_them_off(tmp_path):
    old = tiny.config()
    del old["rates"], old["whitening"], old["optimizer"]["layer_decay"]
    del old["optimizer"]["options"]["lars"], old["task"]["loss"], old["task"]["target_threshold"]
    del old["ema"]["ramp"], old["ema"]["every_steps"], old["ema"]["write_back"]
    del old["regularization"]["factors"], old["schedule"]["start_factor"]
    (tmp_path / workdir.CONFIG).write_text(json.dumps(old))
    (tmp_path / "checkpoints").mkdir()
    assert experiments.build(old).task is not None
    workdir.check_same_config(tmp_path, tiny.experiment())
    with pytest.raises(UserError, match=r"first task\.loss was 'softmax', is 'sigmoid'"):
        workdir.check_same_config(tmp_path, tiny.experiment(task={"loss": "sigmoid"}))
