"""The generated parts of README files."""

import pytest

from cnn.errors import UserError
from cnn.ledger import papers, tables
from cnn.report.text import DASH
from tests.ledger import hand


def render(root):
    read = papers.read_all(root)
    return tables.write(tables.rendered(root, read))


def test_tables_are_written_once_and_leave_the_rest_alone(tmp_path):
    root = hand.ledger(tmp_path)
    own, top = root / "small" / "README.md", tmp_path / "README.md"
    assert render(root) == [top, root / "README.md", own]
    assert render(root) == []
    assert own.read_text().startswith("# A paper\n\nSomebody 1998\n")
    own.write_text("Before.\n" + own.read_text() + "\nBehind.\n")
    assert render(root) == []
    hand.add(root)
    assert render(root) == [top, root / "README.md", own]
    text = own.read_text()
    assert text.startswith("Before.\n# A paper") and text.endswith("\nBehind.\n")


def test_a_paper_shows_numbers_commands_and_runs(tmp_path):
    root = hand.ledger(tmp_path)
    hand.add(root)
    hand.add(root, seed=1, accuracies=(0.94,))
    text = tables.table(hand.paper(root)).replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "| first | digits, 5 % error | 95.00 % | table 1 | 95.00 % ± 1.41 % (2 of 3 seeds) "
        "| partial |"
    ) in text
    assert f"| second | digits \\| best | 100.00 % † | table 2 | {DASH} | not run |" in text
    assert f"| third | nobody knows | {DASH} | {DASH} | {DASH} | not run |" in text
    assert "† nobody checked" in text
    assert "`--config.model.name=resnet_test`" in text
    assert "| it is small |" in text
    digest = hand.paper(root).results[1].config_hash
    assert (
        f"| first | 1 | 94.00 % | `{digest}` | `0123456789ab` | 2 CPU cores | 0.50 | "
        "[log](logs/first_seed1.jsonl) |"
    ) in text


def test_the_summary_lists_what_ran(tmp_path):
    root = hand.ledger(tmp_path)
    read = papers.read_all(root)
    assert tables.summary(read).startswith("\n0 reproduced, 0 partial, 3 not run of 3 rows")
    hand.add(root)
    shown = tables.summary(papers.read_all(root)).replace("\N{NO-BREAK SPACE}", " ")
    assert "| [small](experiments/small/README.md) first |" in shown
    assert "96.00 % (1 of 3 seeds) | partial |" in shown
    assert "second" not in shown
    assert "0 reproduced, 1 partial, 2 not run of 3 rows" in shown


def test_the_overview_has_every_row(tmp_path):
    shown = tables.overview(papers.read_all(hand.ledger(tmp_path)))
    rows = [line for line in shown.splitlines() if line.startswith("| [small]")]
    assert len(rows) == 3


def test_a_file_that_lacks_the_last_line_is_not_overwritten(tmp_path):
    root = hand.ledger(tmp_path)
    render(root)
    path = root / "README.md"
    path.write_text(path.read_text().replace(tables.END, ""))
    with pytest.raises(UserError, match=r"README.md lacks the line"):
        render(root)
