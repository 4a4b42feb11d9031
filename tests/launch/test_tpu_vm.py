"""The script run for real, with a program that stands in for gcloud."""

import os
import subprocess

import pytest

from cnn.errors import UserError
from cnn.launch import Job, TpuVm, tpu_vm
from cnn.launch.job import make_runs

WORDS = ["train", "--config=configs/a.py"]
# Notes what it is asked; `train` in a command of ssh takes its exit code and the state that the
# machines are left in from the first line of a file.
GCLOUD = r"""#!/bin/bash
cd "{home}"
echo "$*" | tr '\n' ' ' | sed 's/ *$/\n/' >> said
case "$*" in
*describe*) cat state ;;
*create*) echo ACTIVE > state ;;
*"cnn train"*)
    read -r code state < outcomes
    sed -i 1d outcomes
    echo "$state" > state
    exit "$code"
    ;;
esac
"""


@pytest.fixture
def gcloud(tmp_path, monkeypatch):
    """Runs a plan's script in a clone; (exit code, what gcloud was asked but for states)."""
    places, clone = tmp_path / "bin", tmp_path / "clone"
    places.mkdir(), clone.mkdir()
    (places / "gcloud").write_text(GCLOUD.format(home=tmp_path))
    (places / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}:{os.environ['PATH']}")
    monkeypatch.chdir(clone)
    (clone / "pyproject.toml").touch()
    subprocess.run(["git", "init", "--quiet"], check=True)

    def run(plan, outcomes):
        (tmp_path / "outcomes").write_text("".join(f"{one}\n" for one in outcomes))
        done = subprocess.run(["bash", "-c", plan.text], check=False)
        lines = (tmp_path / "said").read_text().splitlines()
        return done.returncode, [line for line in lines if "describe" not in line]

    return run


def plan(*, points=({},), max_restarts=20, workdir="/mnt/runs/a", **fields):
    engine = TpuVm(**{"accelerator_type": "v6e-16", "zone": "us-east5-b", **fields})
    return engine.plan(Job("a", workdir, make_runs(workdir, WORDS, points), max_restarts))


def kinds(said):
    words = ("create", "scp", "tar -xzf", "pip install", "cnn train", "delete")
    return [next(word for word in words if word in line) for line in said]


def test_a_slice_is_asked_for_filled_used_and_given_back(gcloud):
    code, said = gcloud(plan(project="lab", spot=True, setup="mount x"), ["0 ACTIVE"])
    assert code == 0
    at = "--zone=us-east5-b --project=lab"
    assert kinds(said) == ["create", "scp", "tar -xzf", "pip install", "cnn train", "delete"]
    assert said[0] == (
        f"compute tpus queued-resources create a --node-id=a {at} --accelerator-type=v6e-16 "
        "--runtime-version=v2-alpha-tpuv6e --spot"
    )
    assert said[1].endswith(f"a: {at} --worker=all")
    assert "cd cnn mount x python3 -m pip" in said[3] and "-e '.[tpu]'" in said[3]
    assert said[4] == (
        f"compute tpus tpu-vm ssh a {at} --worker=all --command=cd cnn && .venv/bin/python -m cnn "
        "train --config=configs/a.py --workdir=/mnt/runs/a"
    )
    assert said[5] == f"compute tpus queued-resources delete a {at} --force --quiet"


def test_machines_that_go_are_asked_for_again(gcloud):
    code, said = gcloud(plan(), ["1 SUSPENDED", "1 SUSPENDED", "0 ACTIVE"])
    assert code == 0
    assert kinds(said) == ["create", "scp", "tar -xzf", "pip install", "cnn train", "delete"] * 3


def test_there_is_an_end_to_that(gcloud):
    code, said = gcloud(plan(max_restarts=1), ["1 SUSPENDED"] * 3)
    assert code == 1
    assert kinds(said).count("cnn train") == kinds(said).count("delete") == 2


def test_a_fault_of_the_training_ends_it_and_the_slice_goes_back(gcloud):
    points = ({"seed": "0"}, {"seed": "1"}, {"seed": "2"})
    code, said = gcloud(plan(points=points), ["0 ACTIVE", "2 ACTIVE"])
    assert code == 1
    trained = [line for line in said if "cnn train" in line]
    assert [line.partition(" --zone")[0][-3:] for line in trained] == ["a-0", "a-1"]
    assert kinds(said).count("delete") == 2
    assert said[-1].startswith("compute tpus queued-resources delete a-1 ")


def test_submitting_becomes_the_script(gcloud, monkeypatch):
    def become(*words):
        raise SystemExit(words)

    monkeypatch.setattr(os, "execvp", become)
    found = plan()
    with pytest.raises(SystemExit) as caught:
        found.submit()
    assert caught.value.args[0] == ("bash", ["bash", "-c", found.text])


def test_without_gcloud_it_says_so(gcloud, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs the command 'gcloud'"):
        plan().submit()


@pytest.mark.parametrize("chip", tpu_vm.RUNTIMES)
def test_every_known_chip_has_its_runtime(gcloud, chip):
    text = plan(accelerator_type=f"{chip}-8").text
    assert f"--accelerator-type={chip}-8 --runtime-version={tpu_vm.RUNTIMES[chip]} " in text


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"zone": None}, "say what and where"),
        ({"accelerator_type": None}, "say what and where"),
        ({"accelerator_type": "v9-8"}, "no runtime is known for 'v9-8'.*--runtime_version"),
        ({"workdir": "gs://a/b"}, "that --setup mounts there.*not gs://a/b"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(gcloud, fields, reason):
    with pytest.raises(UserError, match=reason):
        plan(**fields)
