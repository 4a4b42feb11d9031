"""What a command prepares before a device is used."""

import os
import subprocess
import sys

from cnn.cli import workdir


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
