"""Everything that can be wrong with the ledger, one by one."""

import json

import pytest

from cnn.cli import config_file
from cnn.ledger import check, papers, tables
from configs import base
from tests.ledger import hand

BASE = json.loads(json.dumps(base.get_config().to_dict()))


@pytest.fixture
def root(tmp_path):
    """A ledger in order, with one result."""
    made = hand.ledger(tmp_path)
    hand.add(made)
    tables.write(tables.rendered(made, papers.read_all(made)))
    return made


def findings(root):
    return check.findings(root, config_file.read, BASE)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def only(root):
    found = findings(root)
    assert len(found) == 1, found
    assert "\n" not in found[0]
    return found[0]


def test_a_ledger_in_order_has_no_findings(root):
    assert findings(root) == []


@pytest.mark.parametrize("name", ["README.md", "experiments/README.md"])
def test_a_table_edited_by_hand(root, name):
    edit(root.parent / name, "| partial |", "| reproduced |")
    assert "README.md: the generated table is old or edited by hand; run cnn ledger" in only(root)


def test_a_table_that_is_gone(root):
    (root / "small" / "README.md").unlink()
    assert "small/README.md: the generated table is old" in only(root)


def test_a_number_changed_without_its_table(root):
    edit(root / "small" / "paper.toml", "expected = 0.95", "expected = 0.94")
    assert len(findings(root)) == 3


def test_a_missing_log(root):
    (root / "small" / "logs" / "first_seed0.jsonl").unlink()
    assert "small/first seed 0: the log" in only(root)
    assert "is missing" in only(root)


def test_a_missing_config(root):
    edit(root / "small" / "paper.toml", "mnist5k/vit.py", "mnist5k/vitt.py")
    assert "small/third: no config file" in only(root)


def test_a_config_that_changed(root):
    edit(root / "small" / "paper.toml", '"train.num_steps" = 2', '"train.num_steps" = 3')
    assert only(root) == (
        "small/first seed 0: its config is not that of configs/mnist5k/resnet8.py any more: "
        "train.num_steps was 2, is 3; run it again"
    )


def test_where_it_runs_and_comments_do_not_matter(root):
    path = root / "small" / "paper.toml"
    edit(path, '"train.num_steps" = 2', '"train.num_steps" = 2, "loader.num_threads" = 3')
    edit(path, "[[rows]]", "# A remark.\n[[rows]]")
    # Only the paper's own table shows overrides.
    assert "small/README.md: the generated table" in only(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("first,0,0.96", "first,0,0.97", "eval/accuracy is 0.97 in results.csv and 0.96 in logs/"),
        ("first,0", "fourth,0", "small/fourth seed 0 is a result without a row in paper.toml"),
        ("first,0", "first,9", "small/first seed 9 is no seed of the row, which has [0, 1, 2]"),
        ("first,0", "first,1", "logs/first_seed0.jsonl is of seed 0"),
        ("0123456789ab", "abcdef", "commit is abcdef, logs/first_seed0.jsonl has 0123456789ab"),
    ],
)
def test_a_result_edited_by_hand(root, old, new, message):
    edit(root / "small" / "results.csv", old, new)
    assert message in only(root)


def test_a_hash_edited_by_hand(root):
    digest = hand.paper(root).results[0].config_hash
    edit(root / "small" / "results.csv", digest, "0" * 12)
    assert "config_hash is 000000000000" in only(root)


def test_a_result_that_is_there_twice(root):
    path = root / "small" / "results.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    assert only(root) == "small/first seed 0 is there twice"


def test_a_log_of_no_result(root):
    path = root / "small" / "results.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert only(root) == "small: logs/first_seed0.jsonl is the log of no result"


def test_a_status_claimed_in_the_file(root):
    edit(root / "small" / "paper.toml", "[[rows]]", '[[rows]]\nstatus = "reproduced"')
    assert "claims a status, which follows from its runs" in only(root)
