"""Figures of a comparison: marks by kind, gaps, and only where there is something to see."""

import re
import xml.etree.ElementTree

import pytest

from cnn.compare import analysis, plan_file
from cnn.report import comparison_figures as drawn
from tests.compare import hand


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("hand")
    hand.write(workdir, fractions=(0.1, 1.0))
    return analysis.tables(analysis.load(workdir, plan_file.read(workdir)), 28)


def texts(svg):
    root = xml.etree.ElementTree.fromstring(svg.replace("xlink:", ""))
    return [element.text for element in root.iter("text")]


def test_kinds_have_marks_of_their_own_and_models_colours():
    models = [{"model": str(i), "kind": kind} for i, kind in enumerate(("CNN", "ViT", "MLP") * 3)]
    looks = drawn.styles(models)
    assert {looks[str(i)].mark for i in (0, 3, 6)} == {"o"}
    assert {looks[str(i)].mark for i in (1, 4, 7)} == {"^"}
    assert {looks[str(i)].mark for i in (2, 5, 8)} == {"s"}
    # Nine models look different, though there are seven colours.
    assert len({(look.colour, look.dashes) for look in looks.values()}) == 9


def test_trade_offs_only_where_costs_differ(tables):
    found = {figure.name: figure for figure in drawn.trade_offs(tables)}
    # All take 80 images, 1,000 bytes and 0.75 seconds.
    assert set(found) == {"pareto_macs", "pareto_parameters", "pareto_train_macs"}
    macs = found["pareto_macs"]
    assert {"lenet (CNN)", "mlp (MLP)", "vit (ViT)"} <= set(texts(macs.svg))
    assert {row["cost"] for row in macs.rows} == {"macs"}
    assert len(macs.rows) == 3


def test_marks_are_where_the_rows_are(tables):
    """On the page's axis the cheapest is left and the most accurate on top."""
    (macs,) = [one for one in drawn.trade_offs(tables) if one.name == "pareto_macs"]
    points = {}
    for number, model in enumerate(("lenet", "mlp", "vit"), start=1):
        use = rf'<use[^>]*x="([\d.]+)"[^>]*y="([\d.]+)"[^>]*--curve-{number}\)'
        uses = re.findall(use, macs.svg)
        points[model] = tuple(map(float, uses[0]))
    assert points["mlp"][0] < points["lenet"][0] < points["vit"][0]
    assert points["lenet"][1] < points["vit"][1] < points["mlp"][1]


def test_learning_curves_have_a_line_and_a_band_a_model(tables):
    images, macs = drawn.learning_curves(tables)
    assert images.rows is tables["curves"]
    for number in (1, 2, 3):
        assert f"fill: var(--curve-{number})" in images.svg
        assert f"stroke: var(--curve-{number})" in images.svg
    assert "multiply-accumulates of a training" in texts(macs.svg)


def test_efficiency_only_with_shares(tables):
    (figure,) = drawn.efficiency(tables)
    assert "training examples" in texts(figure.svg)
    whole = {**tables, "efficiency": [r for r in tables["efficiency"] if r["fraction"] == 1]}
    assert drawn.efficiency(whole) == []


def test_a_model_that_cannot_take_a_size_is_not_drawn(tables):
    found = {figure.name: figure for figure in drawn.robustness(tables)}
    assert set(found) == {"robustness_shift", "robustness_size"}
    assert "mlp" in texts(found["robustness_shift"].svg)
    assert "mlp" not in texts(found["robustness_size"].svg)


def test_axes_have_quantities_and_no_tex(tables):
    for figure in [*drawn.trade_offs(tables), *drawn.learning_curves(tables)]:
        assert not [text for text in texts(figure.svg) if text and ("$" in text or "^" in text)]
    shown = texts(next(f for f in drawn.trade_offs(tables) if f.name == "pareto_macs").svg)
    assert {"500", "1k", "2k"} <= set(shown)


def test_equal_tables_give_equal_bytes(tables):
    assert drawn.calibration(tables) == drawn.calibration(tables)
