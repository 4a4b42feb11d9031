"""Measurements as files, as lines and on the page."""

import json

import pytest

from cnn.errors import UserError
from cnn.report import html, measurement, reliability
from cnn.report.measurement import Measurement, Table

BINS = Table(
    "reliability",
    reliability.COLUMNS,
    ((0.0, 0.5, 1, 0.4, 1.0), (0.5, 1.0, 3, 0.9, 0.6)),
)
FOUND = Measurement(
    "calibration",
    40,
    1000,
    {"set": "some <set>"},
    {"ece": 0.0123, "brier": float("nan")},
    (Table("by class", ("class", "examples", "recall"), (("ant", 1200, None),)), BINS),
)


def test_what_was_saved_is_loaded(tmp_path):
    path = measurement.save(tmp_path, FOUND)
    assert path == tmp_path / "evaluations" / "calibration.json"
    (found,) = measurement.load_all(tmp_path)
    assert found.tables == FOUND.tables
    assert str(found.metrics) == str(FOUND.metrics)
    assert found[:4] == FOUND[:4]
    assert measurement.load_all(tmp_path / "nowhere") == []


def test_a_damaged_file_is_one_line(tmp_path):
    path = measurement.save(tmp_path, FOUND)
    content = json.loads(path.read_text())
    del content["metrics"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"calibration.json is damaged .* evaluate again"):
        measurement.load_all(tmp_path)


def test_lines_are_aligned_and_of_a_long_table_the_first():
    many = Table("many", ("a", "number"), tuple((f"row{i}", i) for i in range(30)))
    lines = list(measurement.lines(FOUND._replace(tables=(many,))))
    assert lines[0] == "calibration of step 40: 1,000 examples, set some <set>"
    assert lines[1].split() == ["ece", "0.0123"]
    assert lines[-1] == "    ... and 10 more"
    assert lines[-2] == "    row19      19"


def test_the_page_has_a_section_with_tables_and_a_diagram():
    page = html.render(
        "run", config={}, environment={}, records=[], evaluation=None, measurements=[FOUND]
    )
    assert "<h2>Evaluation: calibration</h2>" in page
    assert "Step 40: 1,000 examples, set some &lt;set&gt;." in page
    assert "0.0123" in page
    assert "ant" in page
    # Bins are drawn, not listed.
    assert page.count("<svg") == 1
    assert 'aria-label="reliability"' in page
    assert page == html.render(
        "run", config={}, environment={}, records=[], evaluation=None, measurements=[FOUND]
    )
