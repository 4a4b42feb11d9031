"""A finished run becomes a line and a short log."""

import json

import pytest

from cnn.cli import config_file
from cnn.errors import UserError
from cnn.ledger import check, entry, fingerprint
from tests.ledger import hand


def test_a_run_becomes_a_line_and_a_log(tmp_path):
    root = hand.ledger(tmp_path)
    result = hand.add(root)
    assert hand.paper(root).results == (result,)
    config = check.build(root, hand.row(root), config_file.read)
    assert result.config_hash == fingerprint.digest(config)
    assert result._replace(config_hash="") == (
        *("first", 0, 0.96, "", "0123456789ab", "2 CPU cores", 1.0, "logs/first_seed0.jsonl"),
    )
    log = entry.read_log(root / "small" / result.log)
    assert log.config == {**config, "seed": 0, "data": {**config["data"], "root": ""}}
    assert log.environment["commit"] == "0123456789ab"
    assert [r["eval/accuracy"] for r in log.records if "eval/accuracy" in r] == [0.9, 0.96]
    assert log.records[0]["train/loss"] == 0.123457
    assert "/somewhere" not in (root / "small" / result.log).read_text()


def test_the_best_evaluation_counts_where_the_paper_chose_it(tmp_path):
    root = hand.ledger(tmp_path)
    assert hand.add(root, name="second", accuracies=(0.9, 0.97, 0.96)).value == 0.97


def test_lines_are_in_the_order_of_rows_and_seeds_and_replaced(tmp_path):
    root = hand.ledger(tmp_path)
    for name, seed in (("third", 7), ("first", 2), ("first", 0)):
        hand.add(root, name=name, seed=seed)
    found = [(result.row, result.seed) for result in hand.paper(root).results]
    assert found == [("first", 0), ("first", 2), ("third", 7)]
    entry.add(hand.paper(root), hand.row(root), root.parent / "runs" / "first0")
    assert len(hand.paper(root).results) == 3


def test_a_log_is_short_but_has_all_evaluations(tmp_path):
    root = hand.ledger(tmp_path)
    result = hand.add(root, accuracies=tuple(i / 1000 for i in range(250)))
    records = entry.read_log(root / "small" / result.log).records
    assert sum("eval/accuracy" in record for record in records) == 250
    training = [record["step"] for record in records if "train/loss" in record]
    assert 80 <= len(training) <= 100
    assert training[-1] == 2499


def test_a_run_that_went_on_names_all_its_commits(tmp_path):
    root = hand.ledger(tmp_path)
    later = {**hand.ENVIRONMENT, "commit": "fedcba9876543210"}
    environment = {**hand.ENVIRONMENT, "resumed": [hand.ENVIRONMENT, later]}
    assert hand.add(root, environment=environment).commit == "0123456789ab+fedcba987654"


@pytest.mark.parametrize("lack", [{"dirty": True}, {"commit": None, "dirty": None}])
def test_a_run_of_code_that_no_commit_has_is_refused(tmp_path, lack):
    root = hand.ledger(tmp_path)
    with pytest.raises(UserError, match="code that no commit has"):
        hand.add(root, environment={**hand.ENVIRONMENT, **lack})


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    root = hand.ledger(tmp_path)
    directory = hand.workdir(root)
    (directory / "evaluation.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        entry.add(hand.paper(root), hand.row(root), directory)


def test_a_metric_that_no_evaluation_has_is_named(tmp_path):
    root = hand.ledger(tmp_path)
    row = hand.row(root)._replace(metric="eval/accuracy_of_others")
    with pytest.raises(UserError, match="has no 'eval/accuracy_of_others'"):
        entry.add(hand.paper(root), row, hand.workdir(root))


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["cpu:0 cpu", "cpu:1 cpu"], "2 CPU cores"),
        (["gpu:0 NVIDIA H100, 80GB", "gpu:1 NVIDIA H100, 80GB"], "2 x NVIDIA H100  80GB"),
        (["tpu:0 TPU v5 lite"], "1 x TPU v5 lite"),
    ],
)
def test_hardware_in_words(devices, words):
    assert entry.hardware({**hand.ENVIRONMENT, "devices": devices}) == words


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    with pytest.raises(UserError, match=r"the log .*a.jsonl is damaged"):
        entry.read_log(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"the log .*b.jsonl is missing"):
        entry.read_log(tmp_path / "b.jsonl")
