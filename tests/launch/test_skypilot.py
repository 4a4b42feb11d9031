"""The tasks against what SkyPilot takes; its own parser is not installed here."""

import os

import pytest
import yaml

from cnn.errors import UserError
from cnn.launch import Job, SkyPilot
from cnn.launch.job import make_runs

WORDS = ["train", "--config=configs/a.py"]
GPU_TASK = """\
# sky jobs launch --yes --detach-run --name=a a.yaml
name: a
workdir: .
num_nodes: 2
resources:
  accelerators: H100:8
  job_recovery:
    recover_on_exit_codes:
    - 75
    - 143
  infra: gcp/us-central1
  use_spot: true
file_mounts:
  /cnn-runs:
    source: gs://bucket
    mode: MOUNT
setup: |
  echo hello
  python3 -m pip install --quiet --user uv
  python3 -m uv venv --quiet --allow-existing --python 3.11 .venv
  python3 -m uv pip install --quiet --python .venv -c requirements.lock -e '.[cuda]'
run: |
  .venv/bin/python -m cnn train --config=configs/a.py --workdir=/cnn-runs/runs/a \\
    --coordinator_address="$(head -n1 <<< "$SKYPILOT_NODE_IPS"):8476" \\
    --num_processes="$SKYPILOT_NUM_NODES" --process_id="$SKYPILOT_NODE_RANK"
"""


@pytest.fixture(autouse=True)
def _clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()


def plan(engine, workdir="gs://bucket/runs/a", points=({},)):
    return engine.plan(Job("a", workdir, make_runs(workdir, WORDS, points), 20))


def test_a_task_of_nodes_with_gpus():
    engine = SkyPilot("H100:8", nodes=2, infra="gcp/us-central1", spot=True, setup="echo hello")
    assert plan(engine).text == GPU_TASK


def test_a_slice_is_one_node_whose_hosts_find_each_other():
    found = plan(SkyPilot("tpu-v6e-16"), "s3://bucket")
    task = yaml.safe_load(found.text)
    assert task["num_nodes"] == 1
    assert task["resources"].keys() == {"accelerators", "job_recovery"}
    assert task["file_mounts"] == {"/cnn-runs": {"source": "s3://bucket", "mode": "MOUNT"}}
    assert task["run"] == (
        ".venv/bin/python -m cnn train --config=configs/a.py --workdir=/cnn-runs/\n"
    )
    assert "-e '.[tpu]'" in task["setup"]


def test_each_point_of_a_sweep_is_a_task(tmp_path, monkeypatch):
    places = tmp_path / "bin"
    places.mkdir()
    sky = places / "sky"
    sky.write_text(
        f'#!/bin/bash\necho "$*" >> {tmp_path}/said\ncat "${{@: -1}}" >> {tmp_path}/got\n'
    )
    sky.chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}:{os.environ['PATH']}")
    found = plan(SkyPilot("H100:8"), points=({"seed": "0"}, {"seed": "1"}))
    tasks = list(yaml.safe_load_all(found.text))
    assert [task["name"] for task in tasks] == ["a-0", "a-1"]
    assert "--config.seed=1 --workdir=/cnn-runs/runs/a/seed=1" in tasks[1]["run"]
    assert found.submit() == 0
    commands = (tmp_path / "said").read_text().splitlines()
    assert [line.split()[-2] for line in commands] == ["--name=a-0", "--name=a-1"]
    assert (tmp_path / "got").read_text() == "".join(found.tasks)
    sky.write_text(f"#!/bin/bash\necho more >> {tmp_path}/said\nexit 3\n")
    assert found.submit() == 3
    assert (tmp_path / "said").read_text().count("more") == 1


def test_without_sky_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"needs the command 'sky'.*pip install 'skypilot"):
        plan(SkyPilot("H100:8")).submit()


@pytest.mark.parametrize(
    "engine, workdir, reason",
    [
        (SkyPilot(), "gs://a/b", "--accelerators=H100:8"),
        (SkyPilot("H100:8", nodes=0), "gs://a/b", "--nodes must be at least 1"),
        (SkyPilot("H100:8"), "runs/a", "gs://BUCKET/PATH .*, not runs/a"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(engine, workdir, reason):
    with pytest.raises(UserError, match=reason):
        plan(engine, workdir)
