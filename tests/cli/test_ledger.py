"""`cnn ledger`, on the repository's own and on one made by hand."""

import pathlib

from cnn.__main__ import main
from tests.ledger import hand

ROOT = pathlib.Path(__file__).parents[2]


def test_the_ledger_of_this_repository_is_as_it_should_be(capsys):
    code = main(["ledger", "check", f"--experiments={ROOT / 'experiments'}"])
    assert code == 0, capsys.readouterr().err


def test_render_then_check(tmp_path, capsys):
    root = hand.ledger(tmp_path)
    hand.add(root)
    words = [f"--experiments={root}"]
    assert main(["ledger", "check", *words]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 3
    assert shown.out == "3 things are wrong\n"
    assert main(["ledger", "render", *words]) == 0
    assert "3 rows of 1 papers" in capsys.readouterr().out
    assert main(["ledger", "check", *words]) == 0


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main(["ledger", "rendr"]) == 2
    assert "unknown action 'rendr'; did you mean 'render'" in capsys.readouterr().err
    assert main(["ledger", "check", f"--experiments={tmp_path}"]) == 2
    assert "no paper in" in capsys.readouterr().err
