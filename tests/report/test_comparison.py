"""The page of a comparison: what it says, what it offers, and that a browser shows it."""

import base64
import csv
import io
import json
import re

import pytest

from cnn.compare import analysis, plan_file, summary
from cnn.errors import UserError
from cnn.report import comparison, text
from tests import browser
from tests.compare import hand
from tests.report.test_html import Page, visible

EVIL = '<script src="https://evil.example/x.js">&"\''


def write(workdir, **changes):
    hand.write(workdir, **changes)
    plan = plan_file.read(workdir)
    tables = analysis.tables(analysis.load(workdir, plan), 28)
    sentences = summary.summary(tables, plan.budget)
    about = {"commit": "abc123", "versions": {"jax": "0.10.2"}}
    path = comparison.write_report(workdir, tables, sentences, budget=plan.budget, about=about)
    return path, tables, sentences


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cmp"), fractions=(0.1, 1.0))


@pytest.fixture(scope="module")
def page(made):
    return made[0].read_text()


def test_the_head_and_the_summary(page, made):
    shown = visible(page)
    assert "3 models from 2 seeds under 20 steps each" in shown
    for sentence in made[2]:
        assert sentence.replace("\N{NO-BREAK SPACE}", " ") in shown.replace("&#39;", "'")
    assert "abc123" in shown


def test_tables_show_what_the_data_say(page):
    rows = Page(re.sub(r"<svg.*?</svg>|<script>.*?</script>", "", page, flags=re.S)).rows
    plain = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in rows]
    lenet = next(row for row in plain if row[:2] == ["lenet", "CNN"])
    assert lenet[2:6] == ["85.00 ± 7.07", "21.47 to 100.00", "0.5000", "17.50 ± 3.54"]
    pair = next(row for row in plain if row[:2] == ["lenet", "vit"])
    assert pair[2] == "10.00 ± 14.14"
    # What a model cannot take has no number.
    assert ["mlp", "MLP", "size", "20", text.DASH, text.DASH] in plain
    few = next(row for row in plain if row[:3] == ["lenet", "CNN", "10"])
    assert few[3:5] == ["10", "55.00 ± 7.07"]


def test_every_figure_and_table_has_its_data(page, made):
    links = re.findall(r'<a download="([\w.]+)" href="data:text/csv;base64,([\w+/=]+)"', page)
    offered = {name: base64.b64decode(data).decode() for name, data in links}
    figures = re.findall(r'<figure id="figure-(\w+)"', page)
    assert {"curves_images", "pareto_macs", "efficiency", "robustness_shift", "calibration"} <= set(
        figures
    )
    tables = re.findall(r'id="table-(\w+)"', page)
    assert set(offered) == {f"{name}.csv" for name in (*figures, *tables)}
    for name, content in offered.items():
        assert (made[0].parent / "tables" / name).read_text() == content
    rows = list(csv.DictReader(io.StringIO(offered["models.csv"])))
    assert [row["model"] for row in rows] == ["lenet", "mlp", "vit"]
    assert [float(row["accuracy_mean"]) for row in rows] == [
        row["accuracy_mean"] for row in made[1]["models"]
    ]
    assert rows[0]["step_bytes"] == "1000"


def test_links_lead_to_each_runs_report(page, made):
    links = re.findall(r'<a href="(runs/[^"]+)"', page)
    assert len(links) == 12
    assert all((made[0].parent / link).exists() for link in links)


def test_results_are_there_as_json(made):
    found = json.loads((made[0].parent / "comparison.json").read_text())
    assert found["tables"] == made[1]
    assert found["summary"] == made[2]
    assert found["budget"] == {"kind": "steps", "amount": 20}


def test_equal_comparisons_give_equal_files(made, tmp_path):
    directory = tmp_path / made[0].parent.name
    directory.mkdir()
    path, _, _ = write(directory, fractions=(0.1, 1.0))
    assert path.read_bytes() == made[0].read_bytes()
    for one in (made[0].parent / "tables").iterdir():
        assert (directory / "tables" / one.name).read_bytes() == one.read_bytes()


def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(tmp_path):
    hand.write(tmp_path)
    plan = plan_file.read(tmp_path)
    tables = analysis.tables(analysis.load(tmp_path, plan), 28)
    for rows in tables.values():
        for row in rows:
            if "model" in row:
                row["model"] = f"{row['model']}{EVIL}"
    for row in tables["pairs"]:
        row["left"] += EVIL
        row["right"] += EVIL
    path = comparison.write_report(tmp_path, tables, [EVIL], budget=plan.budget, about={})
    page = path.read_text()
    assert page.count("<script") == 1
    assert "evil.example/x.js&#34;" in page or "evil.example/x.js&quot;" in page
    addresses = [
        value
        for _, attributes in Page(page).elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href")
    ]
    assert addresses
    assert all(address.startswith(("data:", "runs/", "#")) for address in addresses)


def test_one_model_from_one_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(hand, "WRONG", {"vit": hand.WRONG["vit"]})
    page = write(tmp_path, seeds=(0,))[0].read_text()
    assert "1 model from 1 seed under 20 steps each" in visible(page)
    assert "Tests between models" not in page
    assert "Agreement of errors" not in page


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    hand.write(tmp_path)
    (tmp_path / "tables").write_text("in the way")
    plan = plan_file.read(tmp_path)
    tables = analysis.tables(analysis.load(tmp_path, plan), 28)
    with pytest.raises(UserError, match="cannot write"):
        comparison.write_report(tmp_path, tables, [], budget=plan.budget, about={})


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.CHROMIUM is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    with browser.browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_offline_without_complaint(tab, made, width):
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(made[0], width=width)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    hidden = tab.evaluate(
        "[...document.querySelectorAll('h1,h2,li,p,figure,svg')]"
        f".filter(e => e.getBoundingClientRect().right > {width}).length"
    )
    assert hidden == 0
    assert tab.evaluate("document.querySelectorAll('figure svg').length") >= 8
    assert tab.complaints == []
    assert {address.split(":")[0] for address in tab.requests} <= {"file", "data"}


def test_a_click_sorts_and_another_turns_it_round(tab, made):
    tab.open(made[0], width=1280)

    def column(table, index):
        rows = f"[...document.querySelectorAll('#table-{table} tbody tr')]"
        return tab.evaluate(f"{rows}.map(row => row.cells[{index}].dataset.sort)")

    def click(table, index):
        heads = f"document.querySelectorAll('#table-{table} thead button')"
        tab.evaluate(f"{heads}[{index}].click()")
        return column(table, index)

    assert column("models", 0) == ["lenet", "mlp", "vit"]
    up = [float(x) for x in click("models", 2)]
    assert up == sorted(up) != [float(x) for x in click("models", 2)]
    assert [float(x) for x in column("models", 2)] == up[::-1]
    assert click("models", 0) == ["lenet", "mlp", "vit"]
    # What has no value is at the end both ways.
    assert click("robustness", 4)[-1] == click("robustness", 4)[-1] == ""


def test_the_browsers_own_complaints_are_seen(tab, tmp_path):
    """The test above would pass for ever if nothing were heard."""
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><p style='width:3000px'>wide<script>nothing.here()</script>")
    tab.complaints.clear()
    tab.open(broken, width=390)
    assert "ReferenceError" in "".join(tab.complaints)
    assert tab.evaluate("document.documentElement.scrollWidth") > 390
