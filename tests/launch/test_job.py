import json
import signal

import pytest

from cnn.errors import UserError
from cnn.launch import ENGINES, Job
from cnn.launch.job import RESTART_CODES, check_clone, find_program, make_runs, record
from cnn.parallel import hosts

WORDS = ["train", "--config=configs/a.py"]


def test_a_run_alone_has_the_workdir():
    (run,) = make_runs("runs/a", WORDS, [{}])
    assert run.command("python", "--process_id=1") == [
        "python", "-m", "cnn", *WORDS, "--workdir=runs/a", "--process_id=1",
    ]  # fmt: skip
    assert "--workdir=/there" in run.command("python", workdir="/there")


def test_a_point_has_a_directory_named_after_it_and_its_overrides():
    points = [{"seed": "0", "parallel.mesh": "data:4,fsdp:2"}, {"seed": "1", "x.y": "1e-3"}]
    first, second = make_runs("runs/a/", WORDS, points)
    assert first.workdir == "runs/a/seed=0,parallel.mesh=data-4-fsdp-2"
    assert first.words == (*WORDS, "--config.seed=0", "--config.parallel.mesh=data:4,fsdp:2")
    assert second.workdir == "runs/a/seed=1,x.y=1e-3"


def test_points_do_not_share_a_directory():
    with pytest.raises(UserError, match="the same workdir a/x=1-2"):
        make_runs("a", WORDS, [{"x": "1:2"}, {"x": "1/2"}])


def test_codes_to_start_again_on_are_those_of_the_trainer():
    assert hosts.LOST in RESTART_CODES
    assert 128 + signal.SIGTERM in RESTART_CODES
    # JAX aborts where the leader is lost.
    assert 128 + signal.SIGABRT in RESTART_CODES
    assert not {0, 1, 2, 130} & set(RESTART_CODES)


def test_a_record_says_what_was_launched(tmp_path):
    (run,) = make_runs(str(tmp_path), WORDS, [{"seed": "3"}])
    record(run, "slurm", "17_0")
    found = json.loads((tmp_path / "seed=3" / "launch.json").read_text())
    assert found["engine"] == "slurm" and found["job"] == "17_0"
    assert found["set"] == {"seed": "3"}
    assert found["command"] == [*WORDS, "--config.seed=3"]


def test_a_program_that_is_not_here_is_named_with_the_fix():
    with pytest.raises(UserError, match=r"'no-such-thing'.*: install it; --dry_run"):
        find_program("no-such-thing", "slurm", "install it")


def test_what_is_copied_is_a_clone_with_the_config_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job("a", "b", make_runs("b", WORDS, [{}]), 0)
    with pytest.raises(UserError, match=r"holds no pyproject\.toml"):
        check_clone("tpu-vm", job)
    (tmp_path / "pyproject.toml").touch()
    check_clone("tpu-vm", job)
    away = Job("a", "b", make_runs("b", ["train", "--config=/x/a.py"], [{}]), 0)
    with pytest.raises(UserError, match=r"not as /x/a\.py"):
        check_clone("tpu-vm", away)


def test_engines_have_the_names_of_the_command():
    assert list(ENGINES) == ["local", "slurm", "skypilot", "tpu-vm"]
