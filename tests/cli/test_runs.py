"""`cnn runs` as a user calls it."""

import csv
import json

import pytest

from cnn.__main__ import main

LINES = [
    {"step": 20, "train/loss": 0.5, "perf/images_per_second": 20.0, "perf/data_wait": 0.0},
    {"step": 20, "eval/accuracy": 0.75},
]
CONFIG = {"checkpoint": {"best_metric": "eval/accuracy"}, "loader": {"batch_size": 10}}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    start = {"started": 0.0, "ended": 40.0, "code": 2, "step": 20, "num_steps": 1240}
    start |= {"host": "h", "pid": 1, "error": "no [images] left"}
    (folder / "sessions.json").write_text(json.dumps({"sessions": [start]}))
    return tmp_path / "runs"


def test_the_table(run, capsys):
    assert main(["runs", str(run)]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("run", "state", "step", "last", "metric", "goodput", "elapsed", "starts", "started"),
        "error",
    ]
    for cell in ("a  ", "failed", "20/1,240", "eval/accuracy 0.7500", "25.0", "40.0 s"):
        assert cell in row
    assert row.rstrip().endswith("no [images] left")


def test_forms_for_programs(run, capsys):
    assert main(["runs", str(run), "--csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["run"], row["goodput"], row["num_steps"]) == ("a", "0.25", "1240")
    assert main(["runs", str(run), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["goodput"], row["useful_seconds"], row["value"]) == (0.25, 10.0, 0.75)


def test_nothing_and_nowhere(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs below {tmp_path}\n"
    assert main(["runs", str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err.startswith("cnn: error: no directory")
