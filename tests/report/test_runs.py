import json
import os
import socket
import subprocess
import time

import pytest
from etils import epath
from etils.epath.testing import mock_epath

from cnn.errors import UserError
from cnn.report import runs

CONFIG = {"checkpoint": {"best_metric": "eval/accuracy"}, "loader": {"batch_size": 10}}


def make(folder, lines=(), starts=(), config=CONFIG, **files):
    """A workdir with what a run leaves of its state."""
    folder.mkdir(parents=True)
    if starts:
        files["sessions"] = {"sessions": list(starts)}
    if config is not None:
        files["config"] = config
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    if lines:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def line(step, speed=None, wait=0.0, **values):
    """One of training: the speed is in images/s."""
    timing = {} if speed is None else {"perf/images_per_second": speed, "perf/data_wait": wait}
    return {"step": step, "train/loss": 0.5, **timing, **values}


def begun(started, **rest):
    return {"started": started, "host": socket.gethostname(), "pid": 1, "num_steps": 40, **rest}


def ended(started, seconds, code, step=0, **rest):
    return begun(started, ended=started + seconds, code=code, step=step, **rest)


def gone():
    """The number of a process that has been and is not."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def only(directory):
    (row,) = runs.listed(str(directory))
    return row


def test_useful_seconds_are_those_of_steps_that_count():
    records = [
        {"step": 1, "train/loss": 1.0},  # the first step compiles: no speed
        line(10, speed=10.0),  # 10 steps of 1 s
        {"step": 10, "eval/accuracy": 0.5},
        # Restarted at 15, so the speed is of 16 to 20; it stands for 11 to 20.
        line(20, speed=20.0, wait=0.5),
    ]
    assert runs.useful_seconds(records, batch_size=10) == 10 * 1.0 + 10 * 0.5 * 0.5
    assert runs.useful_seconds(records[:1], batch_size=10) is None


def test_a_finished_run(tmp_path):
    lines = [line(20, speed=100.0), line(40, speed=50.0), {"step": 40, "eval/accuracy": 0.75}]
    make(tmp_path / "a", lines, [ended(1000.0, 20.0, 143, 30), ended(1080.0, 20.0, 0, 40)])
    row = only(tmp_path)
    assert row == runs.Row(
        run="a",
        state="finished",
        step=40,
        num_steps=40,
        metric="eval/accuracy",
        value=0.75,
        goodput=pytest.approx(0.06),
        useful_seconds=pytest.approx(6.0),
        elapsed_seconds=100.0,
        starts=2,
        started=1000.0,
    )


@pytest.mark.parametrize(
    "code, state", [(143, "preempted"), (130, "interrupted"), (2, "failed"), (1, "failed")]
)
def test_a_run_that_has_ended(tmp_path, code, state):
    make(tmp_path / "a", [line(20)], [ended(1000.0, 20.0, code, 25, error="why")])
    row = only(tmp_path)
    assert (row.state, row.step, row.error) == (state, 25, "why")
    assert (row.metric, row.value, row.goodput) == ("train/loss", 0.5, None)


def test_a_run_under_way_and_one_that_was_killed(tmp_path):
    now = time.time()
    make(tmp_path / "here", [line(20, speed=20.0)], [begun(now - 100, pid=os.getpid())])
    make(tmp_path / "gone", [line(20, speed=20.0)], [begun(now - 50, pid=gone())])
    make(tmp_path / "away", [line(20)], [begun(now - 10_000, host="elsewhere")])
    gone_, here, away = runs.listed(str(tmp_path))
    assert (gone_.run, gone_.state) == ("gone", "killed")
    assert (here.run, here.state) == ("here", "running")
    assert here.goodput == pytest.approx(0.1, rel=0.05)
    # Its line is new, so it is there; an old one is no sign.
    assert (away.run, away.state) == ("away", "running")
    log = tmp_path / "away" / "metrics.jsonl"
    os.utime(log, times=(now - 5000, now - 5000))
    assert runs.listed(str(tmp_path))[-1].state == "silent"
    assert runs.listed(str(tmp_path))[-1].elapsed_seconds == pytest.approx(5000, rel=1e-3)


def test_a_run_that_waits(tmp_path):
    make(tmp_path / "all" / "seed=1", config=None, launch={"launched": time.time()})
    make(tmp_path / "all" / "seed=0", [line(20)], [ended(1000.0, 20.0, 143)], launch={})
    assert [(r.run, r.state) for r in runs.listed(str(tmp_path))] == [
        ("all/seed=1", "waiting"),
        ("all/seed=0", "preempted"),
    ]


def test_a_run_of_an_older_version(tmp_path):
    environment = {"started": "1970-01-01T00:10:00+0000"}
    resumed = {**environment, "resumed": [{"started": "1970-01-01T01:20:00+0100"}]}
    folder = make(tmp_path / "a", [line(20, speed=20.0)], environment=resumed)
    os.utime(folder / "metrics.jsonl", times=(1300, 1300))
    row = only(tmp_path)
    assert (row.state, row.starts, row.started) == ("unknown", 2, 600.0)
    assert (row.elapsed_seconds, row.goodput) == (700.0, pytest.approx(10 / 700))
    (folder / "evaluation.json").write_text(json.dumps({"step": 20}))
    assert only(tmp_path).state == "finished"
    (folder / "evaluation.json").write_text(json.dumps({"step": 10}))
    assert only(tmp_path).state == "unknown"


def test_a_broken_run_does_not_hide_the_others(tmp_path):
    make(tmp_path / "a", [line(20)], [ended(1000.0, 20.0, 0)])
    (make(tmp_path / "b") / "config.json").write_text("{")
    make(tmp_path / "c", config={})
    rows = {row.run: row for row in runs.listed(str(tmp_path))}
    assert rows["a"].state == "finished"
    assert rows["b"].state == rows["c"].state == "unreadable"
    assert "is not JSON" in rows["b"].error


def test_a_run_itself_and_nothing(tmp_path):
    make(tmp_path / "a", [line(20)], [ended(1000.0, 20.0, 0)])
    assert only(tmp_path / "a").run == "a"
    (tmp_path / "empty").mkdir()
    assert runs.listed(str(tmp_path / "empty")) == []
    with pytest.raises(UserError, match=r"no directory .*missing"):
        runs.listed(str(tmp_path / "missing"))


def test_runs_in_a_bucket(tmp_path):
    make(tmp_path / "bucket/runs/a", [line(20, speed=20.0)], [ended(1000.0, 20.0, 143, 25)])
    local = only(tmp_path / "bucket/runs")

    def there(original, path, *rest):
        assert str(path).startswith("gs://")
        return original(str(path).replace("gs:/", str(tmp_path), 1), *rest)

    names = ("exists", "isdir", "listdir", "open", "stat")
    with mock_epath(**dict.fromkeys(names, there)):
        assert only("gs://bucket/runs") == local


def test_a_bucket_without_its_extra_is_one_line(monkeypatch):
    def refuse(self):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(epath.gpath.PosixGPath, "is_dir", refuse)
    with pytest.raises(UserError, match=r"install gcsfs; pip install -e '\.\[gcs\]'"):
        runs.listed("gs://bucket/runs")


def test_every_state_is_explained():
    from cnn.cli import runs as command

    assert all(f"{state}" in command.__doc__ for state in runs.STATES)
