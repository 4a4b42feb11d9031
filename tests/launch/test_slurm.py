"""The script, and what it does with programs that stand in for Slurm's; a real one is next door."""

import json
import os
import subprocess
import sys

import pytest

from cnn.errors import UserError
from cnn.launch import Job, Slurm
from cnn.launch.job import make_runs

WORDS = ["train", "--config=configs/a.py", "--config.parallel.mesh=data:4,fsdp:2"]


def plan(engine, workdir, points=({},), max_restarts=20):
    return engine.plan(Job("a", str(workdir), make_runs(str(workdir), WORDS, points), max_restarts))


def options(text):
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SB")]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes a program that notes its words and runs a line of shell."""
    places = tmp_path / "bin"
    places.mkdir()
    monkeypatch.setenv("PATH", f"{places}:{os.environ['PATH']}")

    def make(name, body=""):
        path = places / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/said\n{body}\n')
        path.chmod(0o755)

    return make


def said(tmp_path):
    file = tmp_path / "said"
    return file.read_text().splitlines() if file.exists() else []


def test_every_flag_is_in_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = Slurm(
        nodes=4,
        partition="gpu",
        time="12:00:00",
        gpus_per_node=8,
        cpus_per_task=16,
        account="lab",
        notice_seconds=60,
        sbatch=["--qos=high", "--exclude=n3"],
    )
    text = plan(engine, "runs/a").text
    assert text.splitlines()[:2] == ["# sbatch --parsable runs/a/launch.sbatch", "#!/bin/bash"]
    assert options(text) == [
        "--job-name=a",
        f"--chdir={tmp_path}",
        f"--output={tmp_path}/runs/a/logs/%j.log",
        "--open-mode=append",
        "--requeue",
        "--signal=TERM@60",
        "--nodes=4",
        "--ntasks-per-node=1",
        "--partition=gpu",
        "--time=12:00:00",
        "--gpus-per-node=8",
        "--cpus-per-task=16",
        "--account=lab",
        "--qos=high",
        "--exclude=n3",
    ]
    assert "export JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7\n" in text
    assert "export SRUN_CPUS_PER_TASK=16\n" in text
    assert not list(tmp_path.iterdir())


def test_what_was_not_asked_for_is_not_there(tmp_path):
    text = plan(Slurm(), tmp_path).text
    assert not [o for o in options(text) if o.startswith(("--array", "--part", "--time", "--gpus"))]
    assert "JAX_LOCAL_DEVICE_IDS" not in text and "SRUN_CPUS" not in text


@pytest.mark.parametrize("index", [0, 1])
def test_a_point_of_a_sweep_is_a_task_of_an_array(tmp_path, stand_in, index):
    stand_in("srun")
    stand_in("squeue")
    found = plan(Slurm(), tmp_path / "all", points=({"seed": "0"}, {"seed": "1"}))
    assert "--array=0-1" in options(found.text)
    assert f"--output={tmp_path}/all/logs/%A_%a.log" in options(found.text)
    env = {**os.environ, "SLURM_ARRAY_TASK_ID": str(index)}
    assert subprocess.run(["bash", "-c", found.text], env=env, check=False).returncode == 0
    words = [*WORDS, f"--config.seed={index}", f"--workdir={tmp_path}/all/seed={index}"]
    command = f"srun --ntasks-per-node=1 {sys.executable} -m cnn {' '.join(words)}"
    assert said(tmp_path)[0] == command


@pytest.mark.parametrize(
    "code, state, restarts, again",
    [
        (143, "RUNNING", 0, True),
        (75, "RUNNING", 19, True),
        (134, "RUNNING", 0, True),
        (143, "RUNNING", 20, False),
        (143, "COMPLETING", 0, False),
        (143, "PENDING", 0, False),
        (0, "RUNNING", 0, False),
        (1, "RUNNING", 0, False),
        (2, "RUNNING", 0, False),
        (137, "RUNNING", 0, False),
    ],
)
def test_it_is_requeued_when_that_helps(tmp_path, stand_in, code, state, restarts, again):
    stand_in("srun", f"exit {code}")
    stand_in("squeue", f"echo {state}")
    stand_in("scontrol")
    env = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    script = plan(Slurm(), tmp_path / "run").script
    assert subprocess.run(["bash", "-c", script], env=env, check=False).returncode == code
    assert ("scontrol requeue 7" in said(tmp_path)) == again


def test_the_shell_outlives_the_signal_that_its_training_gets(tmp_path, stand_in):
    # The group of the shell, as Slurm does it.
    stand_in("srun", "trap 'exit 143' TERM; kill -TERM $PPID; sleep 0.2; kill -TERM $$; sleep 9")
    stand_in("squeue", "echo RUNNING")
    stand_in("scontrol")
    env = {**os.environ, "SLURM_JOB_ID": "7"}
    script = plan(Slurm(), tmp_path / "run").script
    assert subprocess.run(["bash", "-c", script], env=env, check=False).returncode == 143
    assert said(tmp_path)[-1] == "scontrol requeue 7"


def test_submitting_leaves_the_script_and_what_waits(tmp_path, stand_in, capsys):
    stand_in("sbatch", "echo '17;cluster'")
    found = plan(Slurm(), tmp_path / "all", points=({"seed": "0"}, {"seed": "1"}))
    assert found.submit() == 0
    script = tmp_path / "all" / "launch.sbatch"
    assert said(tmp_path) == [f"sbatch --parsable {script}"]
    assert found.text.endswith(script.read_text())
    assert (tmp_path / "all" / "logs").is_dir()
    launched = json.loads((tmp_path / "all" / "seed=1" / "launch.json").read_text())
    assert launched["job"] == "17_1"
    assert "submitted job 17" in capsys.readouterr().out


def test_a_refusal_is_one_line(tmp_path, stand_in):
    stand_in("sbatch", "echo 'sbatch: error:\ninvalid partition' >&2; exit 1")
    with pytest.raises(UserError, match=r"sbatch refused .*: sbatch: error: invalid partition"):
        plan(Slurm(), tmp_path / "run").submit()


def test_without_slurm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs the command 'sbatch'"):
        plan(Slurm(), tmp_path / "run").submit()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "engine, workdir, reason",
    [
        (Slurm(nodes=0), "a", "--nodes must be at least 1"),
        (Slurm(gpus_per_node=-1), "a", "--gpus_per_node must be at least 0"),
        (Slurm(), "gs://a/b", "where all nodes see them, not in gs://a/b"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(engine, workdir, reason):
    with pytest.raises(UserError, match=reason):
        plan(engine, workdir)
