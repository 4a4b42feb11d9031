"""The files of the ledger, read and refused."""

import pytest

from cnn.errors import UserError
from cnn.ledger import papers
from tests.ledger import hand


def test_a_paper_is_what_its_file_says(tmp_path):
    paper = hand.paper(hand.ledger(tmp_path))
    assert (paper.name, paper.title, paper.citation) == ("small", "A paper", "Somebody 1998")
    first, second, third = paper.rows
    assert first.seeds == (0, 1, 2)
    assert first.words() == [
        "--config.model.name=resnet_test",
        "--config.train.num_steps=2",
        "--config.model.widths=(8, 16)",
    ]
    assert (first.expected, second.expected, third.expected) == (0.95, 1, None)
    assert second.from_memory
    assert paper.results == ()


def test_overrides_are_words_of_the_command_line():
    row = papers.Row("a", "b", "c", "d", (0,), {"ema.evaluate": False, "schedule.name": "step"})
    assert row.words() == ["--config.ema.evaluate=false", "--config.schedule.name=step"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("claim =", "clam =", "unknown key of .* 'clam'; did you mean 'claim'"),
        ('name = "first"', 'name = "a row"', r"name is 'a row'; use letters, digits and _"),
        ('name = "third"', 'name = "first"', "two rows of the name 'first'"),
        ("seeds = [7]", "seeds = [7, 7]", r"different whole numbers, at least one; got \[7, 7\]"),
        ("seeds = [7]", "", "row 3 lacks 'seeds'"),
        ("expected = 0.95", 'expected = "0.95"', "expected must be a float, got '0.95'"),
        ('expected_source = "table 1"', "", "expected_source must say where 0.95 is stated"),
        ("seeds = [7]", 'seeds = [7]\nstatus = "reproduced"', "claims a status"),
        ('title = "A paper"', "title =", "paper.toml is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, old, new, message):
    root = hand.ledger(tmp_path)
    assert old in hand.PAPER
    (root / "small" / "paper.toml").write_text(hand.PAPER.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        hand.paper(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,seed\n", "first line of .*results.csv must be row,seed,value,"),
        ("first,zero,0.9,a,b,c,1,d\n", "line 2 of .*results.csv is damaged: .*'zero'"),
        ("first,0,0.9\n", "line 2 of .*results.csv is damaged"),
    ],
)
def test_a_damaged_line_of_results_is_named(tmp_path, text, message):
    root = hand.ledger(tmp_path)
    head = "" if text.startswith("row") else ",".join(papers.Result._fields) + "\n"
    (root / "small" / "results.csv").write_text(head + text)
    with pytest.raises(UserError, match=message):
        hand.paper(root)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("", ["first", "second", "third"]),
        ("small", ["first", "second", "third"]),
        ("small/second", ["second"]),
    ],
)
def test_rows_are_chosen_by_paper_and_row(tmp_path, name, rows):
    read = papers.read_all(hand.ledger(tmp_path))
    assert [row.name for _, row in papers.select(read, name)] == rows


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smal", "unknown paper 'smal'; did you mean 'small'"),
        ("small/fist", "unknown row of small 'fist'; did you mean 'first'"),
        ("second", "unknown paper 'second'; did you mean 'small/second'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        papers.select(papers.read_all(hand.ledger(tmp_path)), name)


def test_a_directory_without_papers_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no paper in .*--experiments=DIR"):
        papers.read_all(tmp_path)
